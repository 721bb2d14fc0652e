"""Bodies that are large, slow, cut short or without an owner: what is read of them, and how the connection ends."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Person, new_address
from edgechat.local.web import WebServer
from edgechat.tests.raw_client import Answer, RawClient
from edgechat.tests.web_settings import STRICT

StartWeb = Callable[..., WebServer]
MIB = 1024 * 1024
JSON: dict[str, Any] = {"Content_Type": "application/json"}
MULTIPART: dict[str, Any] = {"Content_Type": "multipart/form-data; boundary=b"}
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
LATE = "The body ended too early, or came too slowly"


@pytest.fixture
def connect(web_url: str) -> Iterator[Callable[..., RawClient]]:
    """Raw connections to the shared web processes, or to `url`."""
    with contextlib.ExitStack() as stack:
        yield lambda url=web_url, **options: stack.enter_context(RawClient(url, **options))


Connect = Callable[..., RawClient]


def token_of(person: Person) -> str:
    return str(person.tokens["access_token"])


def detail(answer: Answer) -> str:
    return str(json.loads(answer.content)["detail"])


NOBODYS = [
    ("POST", "nothing", "", 404),
    ("PUT", "auth/me", "", 401),
    ("POST", "health", "", 405),
    ("POST", "ai/summarize", "", 401),
    ("POST", "chat/attachments", "rubbish", 401),
    ("PATCH", "users/me", "a.b.c", 401),
    ("POST", "auth/login", "", 413),
    ("POST", "auth/refresh", "rubbish", 413),
    ("POST", "/admin/login/", "", 413),
    ("POST", "/admin/accounts/user/", "", 413),
]


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
@pytest.mark.parametrize(("method", "path", "token", "status"), NOBODYS)
def test_a_body_that_nobody_takes_is_not_read_and_ends_the_connection(
    connect: Connect, method: str, path: str, token: str, status: int, chunked: bool
) -> None:
    client = connect(token=token or None)
    kind = JSON if "admin" not in path else {"Content_Type": "application/x-www-form-urlencoded"}
    if chunked:
        client.begin(method, path, **kind, Transfer_Encoding="chunked")
        if status == 413:  # read up to the limit, because nothing else shows its length
            client.chunk(b"x" * 70_000)
    else:
        client.begin(method, path, b"x", **kind, Content_Length=40 * MIB)
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (status, "close")
    assert answer.code
    assert client.is_closed()


def test_an_address_over_its_limit_sends_no_body(connect: Connect, web_with: Callable[..., str]) -> None:
    url = web_with(**STRICT)
    address = new_address()["X-Forwarded-For"]
    for status in (401, 401, 401, 401, 401, 429, 429):
        client = connect(url, address=address)
        client.begin("POST", "chat/attachments", FILE, **MULTIPART, Content_Length=10 * MIB)
        answer = client.answer()
        assert (answer.status, answer.headers["Connection"]) == (status, "close")
        assert client.is_closed()


def test_the_answer_arrives_though_the_client_goes_on_sending(connect: Connect) -> None:
    client = connect()
    client.begin("POST", "nothing", **JSON, Content_Length=40 * MIB)
    with contextlib.suppress(ConnectionError):
        client.sock.sendall(b"x" * 40 * MIB)
    assert client.answer().status == 404


def test_what_has_come_whole_and_is_small_keeps_the_connection(connect: Connect, alice: Person) -> None:
    client = connect(token=token_of(alice))
    for method, path, status in (
        ("POST", "nothing", 404),
        ("GET", "auth/me", 200),
        ("DELETE", "chat/conversations/none", 404),
        ("POST", "auth/email/resend", 202),
    ):
        client.begin(method, path, b"{}" * 500, **JSON, Content_Length=1000)
        answer = client.answer()
        assert (answer.status, answer.headers["Connection"]) == (status, "keep-alive")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_body_where_none_is_meant_is_not_read(connect: Connect, alice: Person, method: str) -> None:
    client = connect(token=token_of(alice))
    client.begin(method, "auth/me", b"x" * 100_000, **JSON, Content_Length=5 * MIB)
    head = client.sock.recv(65536)
    assert b"Connection: close" in head


def test_a_client_that_asks_first_is_told_to_go_on_only_if_its_body_is_taken(connect: Connect, alice: Person) -> None:
    client = connect()
    client.begin("POST", "chat/conversations", **JSON, Content_Length=13, Expect="100-continue")
    assert client.answer().status == 401
    assert client.is_closed()
    client = connect(token=token_of(alice))
    client.begin("POST", "chat/conversations", **JSON, Content_Length=300_000, Expect="100-continue")
    assert client.answer().status == 413
    client = connect(token=token_of(alice))
    client.begin("POST", "chat/conversations", **JSON, Content_Length=13, Expect="100-continue")
    assert client.answer().status == 100
    client.sock.sendall(b'{"title":"a"}')
    assert client.answer().status == 201


def unfinished(client: RawClient) -> None:
    """A whole JSON text, in a chunked body without an end."""
    client.begin("POST", "chat/conversations", **JSON, Transfer_Encoding="chunked")
    client.chunk(b'{"title": "Half"}')


def halves(alice: Person) -> int:
    titles = [one["title"] for one in alice.get("chat/conversations").json()["conversations"]]
    return titles.count("Half")


def test_a_chunked_body_that_stops_is_400(connect: Connect, alice: Person) -> None:
    silent = connect(token=token_of(alice))
    unfinished(silent)
    ended = connect(token=token_of(alice))
    unfinished(ended)
    ended.sock.shutdown(1)
    malformed = connect(token=token_of(alice))
    unfinished(malformed)
    malformed.sock.sendall(b"no length\r\n")
    for client in (ended, malformed, silent):
        answer = client.answer()
        assert (answer.status, answer.code, detail(answer)) == (400, "malformed_request", LATE)
        assert answer.headers["Connection"] == "close"
        assert client.is_closed()
    assert halves(alice) == 0
    whole = connect(token=token_of(alice))
    unfinished(whole)
    whole.sock.sendall(b"0\r\n\r\n")
    assert whole.answer().status == 201
    assert halves(alice) == 1


def test_a_body_that_trickles_is_400_and_leaves_no_file(
    connect: Connect,
    start_web: StartWeb,
    register: Callable[..., Person],
    data_dir: Path,
    eventually: Callable[..., Any],
) -> None:
    web = start_web(DATA_DIR=str(data_dir))
    token = token_of(register("carol", web.url))
    clients = []
    for path, kind in (("chat/conversations", JSON), ("chat/attachments", MULTIPART)):
        clients += [connect(web.url, token=token) for _ in range(3)]
        for client in clients[-3:-1]:
            client.begin("POST", path, FILE, **kind, Content_Length=200_000)
        clients[-1].begin("POST", path, **kind, Transfer_Encoding="chunked")
    for client in clients:
        client.sock.settimeout(0.05)

    def is_cut(client: RawClient) -> bool:
        with contextlib.suppress(TimeoutError, ConnectionError):
            client.sock.sendall(b"2\r\nxx\r\n")
            client.receive()
        return client.has_answer

    eventually(lambda: not [client for client in clients if not client.has_answer and not is_cut(client)])
    for client in clients:
        client.sock.settimeout(120)
        answer = client.answer()
        assert (answer.status, answer.code, answer.headers["Connection"]) == (400, "malformed_request", "close")
    eventually(lambda: uploads_of(web, data_dir) == [])


def test_chunks_of_a_byte_are_no_way_to_send_a_large_body(connect: Connect, alice: Person) -> None:
    client = connect(token=token_of(alice))
    client.begin("POST", "ai/summarize", **JSON, Transfer_Encoding="chunked")
    with contextlib.suppress(ConnectionError):
        client.sock.sendall(b"1\r\nx\r\n" * 200_000)
    assert client.answer().status == 400
    client = connect(token=token_of(alice))
    client.begin("POST", "chat/conversations", **JSON, Transfer_Encoding="chunked")
    for byte in b'{"title": "Talk"}':
        client.chunk(bytes([byte]))
    client.sock.sendall(b"0\r\n\r\n")
    assert client.answer().status == 201


def uploads_of(web: WebServer, data_dir: Path) -> list[int]:
    """The sizes of the files that the workers are receiving. The files have no names."""
    folder = data_dir / "uploads"
    assert not folder.exists() or not list(folder.iterdir())
    sizes = []
    for opened in [path for pid in web.pids for path in Path(f"/proc/{pid}/fd").iterdir()]:
        with contextlib.suppress(OSError):
            if os.readlink(opened).startswith(str(folder)):
                sizes.append(opened.stat().st_size)
    return sizes


def test_a_worker_that_is_killed_leaves_nothing_of_what_it_received(
    connect: Connect,
    start_web: StartWeb,
    register: Callable[..., Person],
    data_dir: Path,
    eventually: Callable[..., Any],
) -> None:
    web = start_web(DATA_DIR=str(data_dir))
    client = connect(web.url, token=token_of(register("carol", web.url)))
    hold(client, MIB)
    eventually(lambda: sum(uploads_of(web, data_dir)) > MIB // 2)
    killed = web.kill_worker()
    assert web.wait_for_workers(without=killed)
    assert not list((data_dir / "uploads").iterdir())


def hold(client: RawClient, size: int) -> None:
    """Send that much of an upload, and then nothing."""
    client.begin("POST", "chat/attachments", FILE + b"x" * (size - len(FILE)), **MULTIPART, Content_Length=8 * MIB)


def test_bodies_on_their_way_are_bounded_for_an_address_and_for_the_process(
    connect: Connect,
    start_web: StartWeb,
    register: Callable[..., Person],
    data_dir: Path,
    eventually: Callable[..., Any],
) -> None:
    web = start_web(MAX_HELD_BYTES=str(4 * MIB), SLOW_READER_SECONDS="600", DATA_DIR=str(data_dir))
    token = token_of(register("carol", web.url))

    def sizes() -> int:
        return sum(uploads_of(web, data_dir))

    home = new_address()["X-Forwarded-For"]
    first = connect(web.url, token=token, address=home)
    hold(first, 3 * MIB // 2)
    eventually(lambda: sizes() > MIB)
    second = connect(web.url, token=token, address=home)
    hold(second, MIB)
    answer = second.answer()
    assert (answer.status, answer.code) == (429, "rate_limited")
    assert int(answer.headers["Retry-After"]) >= 1
    assert second.is_closed()
    other = connect(web.url, token=token)
    hold(other, 3 * MIB // 2)
    eventually(lambda: sizes() > 2 * MIB)
    third = connect(web.url, token=token)
    hold(third, 3 * MIB // 2)
    answer = third.answer()
    assert (answer.status, answer.code) == (503, "store_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    # Held bytes and files are released when their clients disconnect.
    first.sock.close()
    other.sock.close()
    eventually(lambda: sizes() == 0)
    third = connect(web.url, token=token, address=home)
    hold(third, 2 * MIB - 1000)
    eventually(lambda: sizes() > MIB)


PART = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n\r\n'
UPLOADS = {
    "many fields": (PART * 4000, 400),
    "many files": (PART.replace(b'"f"', b'"file"; filename="a"') * 30, 413),
    "long headers": (b"--b\r\n" + b"X: y\r\n" * 100_000, 400),
    "large fields": (PART[:-2] + b"x" * 300_000, 413),
    "no boundary": (b"x" * 9 * MIB, 400),
    "dashes": (b"\r\n--" * 2 * MIB, 400),
    "boundaries": (b"--b\r\n" * MIB, 400),
    "line ends": (b"--b\r\n" + b"\r\n" * 4 * MIB, 400),
    "base64": (FILE[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\n" + b" " * 8 * MIB, 400),
}


@pytest.mark.parametrize(("body", "status"), UPLOADS.values(), ids=UPLOADS.keys())
def test_a_hostile_upload_is_refused_and_leaves_no_file(
    connect: Connect, alice: Person, body: bytes, status: int
) -> None:
    client = connect(token=token_of(alice))
    end = b"\r\n--b--\r\n"
    client.begin("POST", "chat/attachments", **MULTIPART, Content_Length=len(body) + len(end))
    with contextlib.suppress(ConnectionError):
        client.sock.sendall(body + end)
    answer = client.answer()
    assert answer.status in (status, 400, 413, 415, 422)
    assert answer.code
    assert len(answer.content) < 1000


AMBIGUOUS: list[dict[str, Any]] = [
    {"Content_Length": "2\r\nContent-Length: 3"},
    {"Content_Length": "2", "Transfer_Encoding": "chunked"},
    {"Content_Length": "-2"},
    {"Content_Length": "2,2"},
    {"Content_Length": "0x2"},
    {"Transfer_Encoding": "chunked, chunked"},
    {"Transfer_Encoding": "chunked", "version": "1.0"},
]


@pytest.mark.parametrize("headers", AMBIGUOUS, ids=str)
def test_a_length_that_can_be_read_in_two_ways_is_400(connect: Connect, headers: dict[str, Any]) -> None:
    client = connect()
    client.begin("POST", "auth/login", b"{}", **JSON, **headers)
    assert client.answer().status == 400
    assert client.is_closed()


def test_requests_sent_together_are_answered_in_order(connect: Connect, alice: Person) -> None:
    client = connect(token=token_of(alice))
    for number in range(3):
        title = b'{"title": "Talk %d"}' % number
        client.begin("POST", "chat/conversations", title, **JSON, Content_Length=len(title))
    titles = [json.loads(client.answer().content)["title"] for _ in range(3)]
    assert titles == ["Talk 0", "Talk 1", "Talk 2"]


@pytest.mark.parametrize(("count", "size"), [(99, 4000), (9000, 10), (20, 8000)])
def test_headers_are_bounded(connect: Connect, count: int, size: int) -> None:
    client = connect()
    with contextlib.suppress(ConnectionError):
        headers: dict[str, Any] = {f"X-{number}": "x" * size for number in range(count)}
        client.begin("GET", "health", **headers)
    head = client.sock.recv(65536)
    assert head.startswith(b"HTTP/1.1 431 ")
