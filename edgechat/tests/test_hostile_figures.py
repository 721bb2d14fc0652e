"""The cost of hostile bodies for a worker: the longest time without an answer, memory, files. For `make faults`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import Person, full_size, new_address
from edgechat.local.web import WebServer
from edgechat.tests.raw_client import RawClient
from edgechat.tests.test_hostile_bodies import FILE, JSON, MIB, MULTIPART, UPLOADS, token_of

pytestmark = pytest.mark.faults

# A separate process, so that this process's own delays do not count as the server's. Prints the longest wait in ms.
_WATCH = """
import http.client, sys, time
connection = http.client.HTTPConnection(sys.argv[1], timeout=120)
longest = 0.0
print(flush=True)
while not sys.stdin in __import__("select").select([sys.stdin], [], [], 0.005)[0]:
    began = time.monotonic()
    connection.request("GET", "/api/v1/health")
    connection.getresponse().read()
    longest = max(longest, time.monotonic() - began)
print(round(longest * 1000))
"""


@contextlib.contextmanager
def figures(web: WebServer, name: str) -> Iterator[None]:
    """Print the longest wait for an answer of /health during the block, and the growth of the worker's memory."""
    worker = psutil.Process(web.pids[0])
    before = worker.memory_info().rss
    watch = subprocess.Popen([sys.executable, "-c", _WATCH, web.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert watch.stdout is not None
    watch.stdout.readline()
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


SIZE = 4 * MIB - 100


def filled(before: bytes, item: bytes, after: bytes) -> bytes:
    return before + item * ((SIZE - len(before + after)) // len(item)) + after


def large_texts() -> dict[str, bytes]:
    """Bodies of 4 MiB with one long string. A text within the length limit is refused because of its `max_words`."""
    characters = {
        "letters": b"x",
        "letters of two bytes": b"\xc3\xa9",
        "emoji": b"\xf0\x9f\x98\x80",
        "escaped quotes": b'\\"',
        "escaped backslashes": b"\\\\",
        "escaped line ends": b"\\n",
        "letters and escapes": b"x\\t",
        "escaped letters": b"\\u00e9",
        "surrogate pairs": b"\\ud83d\\ude00",
        "halves of surrogate pairs": b"\\ud83d",
        "pairs the wrong way round": b"\\ude00\\ud83d",
    }
    places = {
        "text": (b'{"max_words": 1, "text": "', b'"}'),
        "style": (b'{"max_words": 1, "style": "', b'"}'),
        "name": (b'{"max_words": 1, "', b'": 1}'),
    }
    return {
        f"4 MiB of {name} in a {place}": filled(before, each, after)
        for name, each in characters.items()
        for place, (before, after) in places.items()
        if place == "text" or name in ("emoji", "escaped quotes", "surrogate pairs")
    }


def large_values() -> dict[str, bytes]:
    """Bodies of 4 MiB with the maximum number of values, or with large values."""
    before, after = b'{"max_words": 1, "x": [', b"1]}"
    return {
        "numbers of 400 digits": filled(before, b"9" * 420 + b",", after),
        "numbers of 4,300 digits": filled(before, b"9" * 4300 + b",", after),
        "fractions of 400 digits": filled(before, b"0." + b"7" * 420 + b"e-9,", after),
        "a number of 4 MiB": filled(before, b"9", b"," + after),
        "a fraction of 4 MiB": filled(before + b"0.", b"7", b"," + after),
        "an exponent of 4 MiB": filled(before + b"1e-", b"7", b"," + after),
        "strings of 400 letters": filled(before, b'"' + b"x" * 420 + b'",', after),
        "strings of 70 surrogate pairs": filled(before, b'"' + b"\\ud83d\\ude00" * 35 + b'",', after),
        "arrays as deep as may be": filled(before, b"[" * 61 + b" " * 30_000 + b"]" * 61 + b",", after),
        "objects with long names": filled(before, b'{"' + b"n" * 900 + b'": 1},', after),
        "names that differ": b'{"max_words": 1'
        + b"".join(b', "%0420d": 1' % number for number in range(SIZE // 430))
        + b" " * 1000
        + b"}",
        "one name again and again": filled(b'{"max_words": 1', b', "' + b"n" * 430 + b'": 1', b"}"),
        "spaces": filled(b'{"max_words": 1', b" ", b"}"),
        "line ends": filled(b'{"max_words": 1', b"\r\n", b"}"),
        "spaces between values": filled(before, b"1," + b" " * 440, after),
    }


def large_faults() -> dict[str, bytes]:
    """Bodies of 4 MiB that are invalid JSON at their end."""
    endless = {"brackets": b"[", "quotes": b'"', "objects": b"{},", "backslashes": b'"\\\\', "words": b"true "}
    return {
        **{f"{name} and no end": filled(b'{"text": ', one, b"") for name, one in endless.items()},
        "a string without its end": filled(b'{"text": "', b"x", b""),
        "escapes without an end": filled(b'{"text": "', b'\\"', b""),
        "no UTF-8 at the end": filled(b'{"text": "', b"x", b'\xff"}'),
        "a control character at the end": filled(b'{"text": "', b'\\"', b'\x01"}'),
        "NaN at the end": filled(b'{"text": "', b"\\n", b'", "x": NaN}'),
    }


def json_bodies() -> dict[str, tuple[str, bytes]]:
    """Large bodies by name, with their path."""
    items = {"objects": b"{},", "lists": b"[],", "numbers": b"1,", "strings": b'"",', "escapes": b'"\\\\",'}
    bodies = {
        f"a list of {name}": ("chat/conversations/none/messages", b'{"content": "a", "attachment_ids": [%s0]}' % many)
        for name, item in items.items()
        for many in [item * (250_000 // len(item))]
    }
    for name, body in {**large_texts(), **large_values(), **large_faults()}.items():
        assert 4 * MIB - 40_000 < len(body) <= 4 * MIB, name
        bodies[name] = ("ai/summarize", body)
    bodies["8 MB of objects"] = ("chat/conversations/none/messages", b'{"attachment_ids": [' + b"{}," * (8 * MIB // 3))
    return bodies


def test_large_json_stalls_nobody(start_web: Callable[..., WebServer], register: Callable[..., Person]) -> None:
    """`make faults` measures each body alone, sent once and eight times at once; other runs send each body once."""
    web, bodies = start_web(), json_bodies()
    token = token_of(register("carol", web.url))

    def send(name: str, count: int) -> None:
        path, body = bodies[name]
        with ThreadPoolExecutor(count) as pool:
            statuses = set(pool.map(lambda _: post(web, path, body, token=token, **JSON), range(count)))
        assert statuses <= {400, 413, 422}, name

    if full_size(True, False):
        for name, count in product(bodies, (1, 8)):
            with figures(web, f"{name}, {count} at once"):
                send(name, count)
    else:
        with figures(web, f"{len(bodies)} large bodies"):
            for name in bodies:
                send(name, 1)


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
