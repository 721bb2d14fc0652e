"""The image's commands on a root file system that is read-only, as a user without rights.

Only those folders can be written that deploy/kubernetes/app.yaml and docker-compose.yml mount, and /dev/shm, which a
container engine adds with 64 MB.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image as Picture

from edgechat.local.ports import HOST
from edgechat.local.process import ChildProcess, wait_until
from edgechat.tests.test_deployment import of_kind
from edgechat.tests.test_packaging import SERVICES, Image, built_image, image, instruction
from edgechat.tests.web_settings import METRICS_TOKEN

__all__ = ["built_image", "image"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount file systems read-only")

USER = instruction("USER").partition(":")[0]
# The image's /srv and /data, and its packages, in folders that every system has.
CODE, DATA, PACKAGES = "/srv", "/mnt", "/media"
AS_USER = f"setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs --bounding-set=-all"
# Read by sh: the project, the packages, Python's own folder, then the command.
SCRIPT = f"""
set -e
mount --make-rprivate /
mount --bind "$1" {CODE}
mount --bind "$2" {PACKAGES}
if ! {AS_USER} test -r "$3/bin"; then  # it is in root's home, for example
    mount --bind "$3" /var/tmp
    mount -t tmpfs -o mode=0755 tmpfs "/$(echo "$3" | cut -d/ -f2)"
    mkdir -p "$3"
    mount --bind /var/tmp "$3"
    umount /var/tmp
fi
shift 3
for folder in $(findmnt --list --noheadings --output TARGET | sort -u); do
    case $folder in /proc|/proc/*|/sys|/sys/*|/dev|/dev/*) ;; *) mount -o remount,bind,ro "$folder" ;; esac
done
mount -t tmpfs -o size=1g,mode=1777 tmpfs /tmp
mount -t tmpfs -o size=2g,uid={USER},gid={USER},mode=0700 tmpfs {DATA}
mount -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm
cd {CODE}
exec {AS_USER} "$@"
"""


def inside(folder: Path, *command: str) -> list[str]:
    """A command that sees the file systems of a container."""
    places = [str(folder), sys.prefix, sys.base_prefix]
    return ["/usr/bin/unshare", "--mount", "sh", "-c", SCRIPT, "sh", *places, *command]


def open_for_everybody(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


@pytest.fixture
def environment(built_image: Image) -> dict[str, str]:
    open_for_everybody(built_image.folder)
    return built_image.app | {
        "PATH": f"{PACKAGES}/bin:/usr/local/bin:/usr/bin:/bin",
        "DATA_DIR": DATA,
        "METRICS_TOKEN": METRICS_TOKEN,
        "STORE_TIMEOUT_SECONDS": "45",  # the machine may be slow
        "GEMINI_BASE_URL": os.environ["GEMINI_BASE_URL"],
        "GEMINI_API_KEY": os.environ["GEMINI_API_KEY"],
    }


@pytest.fixture
def web(built_image: Image, environment: dict[str, str], data_dir: Path) -> Iterator[ChildProcess]:
    migrate: list[str] = SERVICES["migrate"]["command"]
    done = built_image.run(migrate, built_image.migrate)
    assert done.returncode == 0, done.stderr
    program, *arguments = json.loads(instruction("CMD"))
    process = ChildProcess(
        inside(built_image.folder, f"{PACKAGES}/bin/python", "-m", program, *arguments),
        log_path=data_dir / "web.log",
        cwd=built_image.folder,
        env=environment,
    )
    yield process
    process.kill()


def picture(size: int) -> bytes:
    data = io.BytesIO()
    Picture.frombytes("RGB", (size, size), os.urandom(3 * size * size)).save(data, "PNG")
    return data.getvalue()


def test_gunicorn_writes_only_where_the_manifests_let_it(
    web: ChildProcess,
    built_image: Image,
    environment: dict[str, str],
    data_dir: Path,
) -> None:
    [deployment] = of_kind("Deployment")
    mounts = deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {each["mountPath"] for each in mounts} == {"/tmp", "/data"}
    url = f"http://{HOST}:{environment['PORT']}/api/v1"
    with httpx2.Client(headers={"Host": "chat.example.com"}, trust_env=False, timeout=120) as client:

        def answers() -> bool:
            assert web.exit_code() is None, web.log_text()
            try:
                return client.get(f"{url}/health/ready").status_code == 200
            except httpx2.TransportError:
                return False

        assert wait_until(answers, seconds=120, poll_seconds=0.2), web.log_text()
        body = {"email": "ann@example.com", "password": "no common one"}
        token = client.post(f"{url}/auth/register", json=body).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        # A file that goes to the folder of uploads, is read by a process of the sandbox, and is kept.
        upload: Any = {"file": ("picture.png", picture(900), "image/png")}
        sent = client.post(f"{url}/chat/attachments", files=upload)
        assert sent.status_code == 201, web.log_text()
        conversation = client.post(f"{url}/chat/conversations", json={}).json()["id"]
        message = {"content": "Hello", "attachment_ids": [sent.json()["id"]]}
        answer = client.post(f"{url}/chat/conversations/{conversation}/messages", json=message)
        assert answer.json()["model_message"]["status"] == "complete", answer.text
        assert client.get(f"{url}/chat/attachments/{sent.json()['id']}").status_code == 200
        upload = {"file": ("conversations.json", b"[]", "application/json")}
        assert client.post(f"{url}/chat/imports", files=upload).status_code in (202, 422)
        assert client.post(f"{url}/ai/summarize", json={"text": "word " * 500}).status_code == 200
        metrics = client.get(
            f"http://{HOST}:{environment['PORT']}/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}
        )
        assert metrics.status_code == 200
        assert "edgechat_replies_running" in metrics.text
    log = web.log_text()
    assert "Read-only file system" not in log
    assert "Permission denied" not in log
    assert "Traceback" not in log
    for process in web.descendants():
        assert process.uids().real == int(USER)
    assert web.stop(signal.SIGTERM, 60)
    assert web.exit_code() == 0


def test_the_folders_are_really_read_only(web: ChildProcess, built_image: Image, data_dir: Path) -> None:
    command = (
        f"touch /tmp/a {DATA}/a /dev/shm/a && ! touch {CODE}/a && ! touch {PACKAGES}/a && ! touch /var/tmp/a && id -u"
    )
    process = ChildProcess(
        inside(built_image.folder, "/bin/sh", "-c", command), log_path=data_dir / "touch.log", cwd=built_image.folder
    )
    assert process.wait(60) == 0, process.log_text()
    assert process.log_text().count("Read-only file system") == 3
    assert process.log_text().splitlines()[-1] == USER
