"""What hostile bodies cost a worker: the longest time without an answer, memory, files. Printed by `make faults`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import Person, new_address
from edgechat.local.web import WebServer
from edgechat.tests.raw_client import RawClient
from edgechat.tests.test_hostile_bodies import FILE, JSON, MIB, MULTIPART, UPLOADS, token_of

pytestmark = pytest.mark.faults

# A process of its own: what this one does must not look like the server's doing. Prints the longest wait in ms.
_WATCH = """
import http.client, sys, time
connection = http.client.HTTPConnection(sys.argv[1], timeout=120)
longest = 0.0
while not sys.stdin in __import__("select").select([sys.stdin], [], [], 0.005)[0]:
    began = time.monotonic()
    connection.request("GET", "/api/v1/health")
    connection.getresponse().read()
    longest = max(longest, time.monotonic() - began)
print(round(longest * 1000))
"""


@contextlib.contextmanager
def figures(web: WebServer, name: str) -> Iterator[None]:
    """Print how long /health was not answered at most meanwhile, and how the worker's memory grew."""
    worker = psutil.Process(web.pids[0])
    before = worker.memory_info().rss
    watch = subprocess.Popen([sys.executable, "-c", _WATCH, web.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    longest = int(watch.communicate(b"\n", timeout=120)[0])
    grown = (worker.memory_info().rss - before) / MIB
    print(f"{name}: {seconds:.1f} s, longest wait of /health {longest} ms, memory {grown:+.0f} MB")  # noqa: T201


def post(web: WebServer, path: str, body: bytes, **headers: Any) -> int:
    token = headers.pop("token", None)
    with RawClient(web.url, token=token) as client:
        with contextlib.suppress(ConnectionError):
            client.begin("POST", path, **headers, Content_Length=len(body))
            client.sock.sendall(body)
        answer = client.answer()
        assert len(answer.content) < 5000
        return answer.status


def json_bodies() -> dict[str, tuple[str, bytes]]:
    """Large bodies by name, with their path."""
    items = {"objects": b"{},", "lists": b"[],", "numbers": b"1,", "strings": b'"",', "escapes": b'"\\\\",'}
    bodies = {
        f"a list of {name}": ("chat/conversations/none/messages", b'{"content": "a", "attachment_ids": [%s0]}' % many)
        for name, item in items.items()
        for many in [item * (250_000 // len(item))]
    }
    size = 4 * MIB - 100
    fill = {"brackets": b"[", "quotes": b'"', "backslashes": b"\\", "escaped quotes": b'\\"', "digits": b"9"}
    bodies |= {
        f"4 MiB of {name}": ("ai/summarize", b'{"text": ' + one * (size // len(one))) for name, one in fill.items()
    }
    bodies["4 MiB of objects"] = ("ai/summarize", b"[" + b"{}," * (size // 3) + b"1]")
    bodies["a style of 4 MiB"] = ("ai/summarize", b'{"text": "a", "style": "' + b"s" * (size - 50) + b'"}')
    bodies["8 MB of objects"] = ("chat/conversations/none/messages", b'{"attachment_ids": [' + b"{}," * (8 * MIB // 3))
    return bodies


def test_large_json_stalls_nobody(start_web: Callable[..., WebServer], register: Callable[..., Person]) -> None:
    web = start_web()
    token = token_of(register("carol", web.url))
    for name, (path, body) in json_bodies().items():
        with figures(web, name), ThreadPoolExecutor(4) as pool:
            statuses = set(pool.map(lambda _: post(web, path, body, token=token, **JSON), range(8)))  # noqa: B023
        assert statuses <= {400, 413, 422}, name


def test_hostile_uploads_stall_nobody(start_web: Callable[..., WebServer], register: Callable[..., Person]) -> None:
    web = start_web()
    token = token_of(register("carol", web.url))
    for name, (body, _) in UPLOADS.items():
        with figures(web, name), ThreadPoolExecutor(2) as pool:
            statuses = set(
                pool.map(lambda _: post(web, "chat/attachments", body, token=token, **MULTIPART), range(4))  # noqa: B023
            )
        assert statuses <= {400, 413, 415, 422}, name


def test_bodies_that_nobody_takes_are_neither_kept_nor_waited_for(
    start_web: Callable[..., WebServer], data_dir: Path
) -> None:
    web = start_web(DATA_DIR=str(data_dir), RATE_LIMIT_REQUESTS="3", RATE_LIMIT_WINDOW_SECONDS="600")
    address = new_address()["X-Forwarded-For"]

    def attack(number: int) -> int:
        with RawClient(web.url, address=address, token="rubbish") as client:
            client.begin("POST", "chat/attachments", FILE, **MULTIPART, Transfer_Encoding="chunked")
            with contextlib.suppress(ConnectionError):
                for _ in range(50):
                    client.chunk(b"x" * MIB)
            return client.answer().status

    with figures(web, "12 refused uploads of 50 MiB"), ThreadPoolExecutor(12) as pool:
        assert set(pool.map(attack, range(12))) <= {401, 400, 429}
    uploads = data_dir / "uploads"
    assert not uploads.exists() or not list(uploads.iterdir())
