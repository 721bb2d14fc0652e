"""The whole stack: its settings, its lock, and that no server outlives it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from edgechat.local.process import LocalError, lives, wait_until
from edgechat.local.stack import Part, Stack, start_stack

PARTS: tuple[Part, ...] = ("postgres", "valkey", "mongo")
_PROJECT = Path(__file__).parents[3]
_LAUNCHER = """
import sys, time
from pathlib import Path
from edgechat.local.stack import start_stack
stack = start_stack(Path(sys.argv[1]), durable=False, scripted=True, parts=("postgres", "valkey", "mongo"))
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_stack_gives_the_settings_of_what_runs(data_dir: Path) -> None:
    with start_stack(data_dir, durable=False, scripted=True, parts=PARTS) as stack:
        assert set(stack.env) == {"DATABASE_URL", "MONGODB_URL", "REDIS_URL"}
        assert all("127.0.0.1:" in url for url in stack.env.values())
        assert all(server.is_healthy() for server in stack.servers)
    assert not any(server.is_running() for server in stack.servers)


def test_a_second_stack_on_the_same_folder_is_refused_until_the_first_is_stopped(data_dir: Path) -> None:
    first = start_stack(data_dir, durable=False, scripted=True, parts=("valkey",))
    try:
        with pytest.raises(LocalError, match=rf"Another EdgeChat \(process {os.getpid()}\).*DATA_DIR="):
            start_stack(data_dir, durable=False, scripted=True, parts=("valkey",))
        assert all(server.is_healthy() for server in first.servers)
    finally:
        first.stop()
    with start_stack(data_dir, durable=False, scripted=True, parts=("valkey",)) as second:
        assert second.valkey is not None
        assert second.valkey.is_healthy()


def test_a_failing_server_takes_the_others_with_it_and_frees_the_folder(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(data_dir, durable=False, scripted=True, parts=PARTS)
    assert stack.valkey is not None
    monkeypatch.setattr(stack.valkey, "command", lambda _: ["/bin/false"])
    with pytest.raises(LocalError, match="Valkey ended at its start with exit code 1"):
        stack.start()
    assert not any(server.is_running() for server in stack.servers)
    start_stack(data_dir, durable=False, scripted=True, parts=("mongo",)).kill()


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_no_server_outlives_a_launcher_that_is_sigkilled(data_dir: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER, str(data_dir)], cwd=_PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"ready\n"
        children = psutil.Process(launcher.pid).children(recursive=True)
        names = {child.name() for child in children}
        assert {"postgres", "valkey-server"} <= names
        assert len(children) > 3
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
        assert wait_until(lambda: not any(lives(child) for child in children), seconds=60)

    with start_stack(data_dir, durable=False, scripted=True, parts=PARTS) as stack:
        assert all(server.is_healthy() for server in stack.servers)


def test_the_folder_is_closed_to_other_users(data_dir: Path) -> None:
    folder = data_dir / "made"
    with start_stack(folder, durable=False, scripted=True, parts=("valkey",)):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "log").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_folder_of_another_user_is_refused_to_root(data_dir: Path) -> None:
    folder = data_dir / "theirs"
    folder.mkdir()
    os.chown(folder, 1, 1)
    with pytest.raises(LocalError, match=r"belongs to another user.*DATA_DIR="):
        start_stack(folder, durable=False, scripted=True, parts=("valkey",))
    assert list(folder.iterdir()) == []
