"""The log: JSON to its last line in production, and a line that cannot be written does no harm."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import Person, ask
from edgechat.local.web import WebServer
from edgechat.tests.web_settings import PRODUCTION

HOSTILE_BYTES = {
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(154),
    "no HTTP": b"hello\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "a faulty request after a good one": (
        b"GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-ID: before\r\n\r\n?\r\n\r\n"
    ),
}

PROGRAM = """
import structlog
from edgechat.logs import configure_logging
configure_logging(level="INFO", as_json=True)
structlog.get_logger("edgechat").info("request", path="\\udc80")
print("answered")
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
@pytest.mark.parametrize("log", ["/dev/full", "/dev/null"])
def test_a_log_that_cannot_be_written_fails_nothing(log: str) -> None:
    with open(log, "w") as file:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=file,
            check=False,
        )
    assert done.stdout == b"answered\n"


def _lines(text: str) -> list[dict[str, Any]]:
    assert "\n".join(line for line in text.splitlines() if not line.startswith("{")) == ""
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    fields = {"event", "level", "logger", "timestamp", "request_id", "user_id", "session_id", "route"}
    assert all(fields <= line.keys() for line in lines)
    return lines


def _json(request_id: str) -> dict[str, str]:
    return {"X-Request-ID": request_id, "Content-Type": "application/json"}


def test_in_production_every_line_of_the_log_is_json(
    start_web: Callable[..., WebServer], eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    web = start_web(**PRODUCTION, PYTHONWARNINGS="always")
    alice = Person(web.url, "alice")
    asked = {
        "known": alice.get("auth/me", headers={"X-Request-ID": "known"}).status_code,
        "malformed": alice.post("chat/conversations", content=b"{", headers=_json("malformed")).status_code,
        "nowhere": ask("GET", f"{web.url}/wp-login.php", headers={"X-Request-ID": "nowhere"}).status_code,
        "host": ask("GET", f"{web.url}/", headers={"X-Request-ID": "host", "Host": "scanned.example"}).status_code,
        "admin": ask("POST", f"{web.url}/admin/login/", headers={"X-Request-ID": "admin"}).status_code,
        "failed": alice.post("ai/complete", json={"prompt": "no key"}, headers=_json("failed")).status_code,
    }
    alice.close()
    assert asked == {"known": 200, "malformed": 400, "nowhere": 404, "host": 400, "admin": 403, "failed": 503}
    for sent in HOSTILE_BYTES.values():
        # The server may reset a connection with bytes that it did not read.
        with suppress(OSError), socket.create_connection(("127.0.0.1", web.port), timeout=60) as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
    os.kill(web.pid, signal.SIGHUP)
    eventually(lambda: "Hang up" in web.log_text() and "exiting" in web.log_text())
    killed = web.kill_worker()
    assert web.wait_for_workers(without=killed, seconds=120)
    assert web.terminate()

    lines = _lines(web.log_text())
    of_request = {name: [line for line in lines if line.get("request_id") == name] for name in (*asked, "before")}
    assert all(of_request.values())
    (known,) = of_request["known"]
    assert (known["user_id"], known["route"], known["status"]) == (alice.id, "api/v1/auth/me", 200)
    assert known["session_id"]
    (refused,) = of_request["host"]
    assert (refused["event"], refused["level"], refused["refused"]) == ("request", "info", "DisallowedHost")
    assert (refused["host"], refused["user_id"]) == ("scanned.example", None)
    assert len(of_request["before"]) == 1
    (failed,) = of_request["failed"]
    assert (failed["event"], failed["level"], failed["error"]) == ("request", "error", "model_unavailable")
    gunicorn = [line["event"] for line in lines if line["logger"] == "gunicorn.error"]
    for start in (
        "Starting gunicorn",
        "Booting worker",
        "Invalid request from",
        "Handling signal: term",
        "Shutting down",
    ):
        assert any(line.startswith(start) for line in gunicorn), start


SERVER = """
import sys, threading, warnings
from edgechat.logs import configure_logging, log_everything
configure_logging(level="INFO", as_json=True)
log_everything()
warnings.warn("a warning")
print("printed", "words")
def fail():
    raise ValueError("in a thread")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
class Unraisable:
    def __del__(self):
        raise ValueError("in a destructor")
Unraisable()
sys.stderr.write("written\\n")
raise ValueError("at the end")
"""


def test_warnings_and_prints_and_uncaught_exceptions_are_lines_of_json() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVER], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    lines = _lines(done.stderr)
    assert [line["event"] for line in lines if line["event"] != "printed"][1:] == ["uncaught_exception"] * 3
    assert "a warning" in lines[0]["event"]
    assert [line["text"] for line in lines if line["event"] == "printed"] == ["printed words", "written"]
    raised = [line["exception"][0]["exc_value"] for line in lines if "exception" in line]
    assert raised == ["in a thread", "in a destructor", "at the end"]
