"""Fetching a page over HTTP: the request and every limit, against real servers on this machine."""

from __future__ import annotations

import functools
import gzip
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ai.fetch_url import Fetcher, Page, PageRefused
from ai.fetch_url.fetcher import _ssl_context
from ai.fetch_url.limits import CANNOT_OPEN, CANNOT_READ, WRONG_TYPE
from ai.tests.sites import Answer, Site, Visit, certified, http
from edgechat.errors import error_body

TOO_LARGE = "The page is larger than 5 MB"
# Of a page, unless a test is about its deadline: the machine may be slow.
PATIENCE = 120.0
MEGABYTE = 1024**2


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def start(answer: Answer, **kwargs: Any) -> Site:
        sites.append(Site(answer, **kwargs))
        return sites[-1]

    yield start
    for started in sites:
        started.close()


def fetcher_for(*sites: Site, **kwargs: Any) -> Fetcher:
    """A fetcher that counts these sites as public, whatever their names."""
    return Fetcher(
        resolve=lambda *_: ["127.0.0.1"],
        is_allowed=lambda address: address == "127.0.0.1",
        ports=frozenset(site.port for site in sites),
        **{"max_seconds": PATIENCE, **kwargs},
    )


def fetch(site: Site, path: str = "/", *, scheme: str = "http", host: str = "page.example", **kwargs: Any) -> Page:
    return fetcher_for(site, **kwargs).fetch(f"{scheme}://{host}:{site.port}{path}")


def refusal(site: Site, path: str = "/", **kwargs: Any) -> str:
    with pytest.raises(PageRefused) as refused:
        fetch(site, path, **kwargs)
    return refused.value.message


def test_a_page_is_read_under_its_name(site: Callable[..., Site]) -> None:
    server = site(lambda visit: visit.send(http(b"hello there")))
    page = fetch(server, "/a%20path/?q=%C3%BC#part")
    assert page == Page(
        url=f"http://page.example:{server.port}/a%20path/?q=%C3%BC#part", title=None, text="hello there"
    )
    (visit,) = server.visits
    assert visit.target == "/a%20path/?q=%C3%BC"
    assert visit.headers["host"] == f"page.example:{server.port}"


def test_an_international_name_is_asked_for_in_ascii(site: Callable[..., Site]) -> None:
    server = site(lambda visit: visit.send(http(b"hello")))
    assert fetch(server, host="bücher.example").text == "hello"
    assert server.visits[0].headers["host"] == f"xn--bcher-kva.example:{server.port}"


def test_nothing_is_sent_but_what_is_ours(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """No cookie between redirects, no proxy, and no credentials of this machine."""
    proxy = site(lambda visit: visit.send(http(b"the proxy")))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

    def answer(visit: Visit) -> None:
        if visit.target == "/":
            visit.send(http(b"", status="302 Found", Location="/next", Set_Cookie="a=b; Path=/"))
        else:
            visit.send(http(b"hello"))

    server = site(answer)
    assert fetch(server).text == "hello"
    assert [set(visit.headers) for visit in server.visits] == [
        {"host", "user-agent", "accept", "accept-encoding", "connection", ""}
    ] * 2
    assert {visit.headers["user-agent"] for visit in server.visits} == {"EdgeChat/1 (+summaries)"}
    assert proxy.visits == []


def test_redirects_are_followed_to_the_last_address(site: Callable[..., Site]) -> None:
    last = site(lambda visit: visit.send(http(b"hello")))
    first = site(
        lambda visit: visit.send(
            http(b"", status="308 Permanent Redirect", Location=f"http://last.example:{last.port}/x")
        )
    )
    page = fetcher_for(first, last).fetch(f"http://first.example:{first.port}/")
    assert (page.url, page.text) == (f"http://last.example:{last.port}/x", "hello")
    assert last.visits[0].headers["host"] == f"last.example:{last.port}"


def count_down(visit: Visit) -> None:
    """/3 redirects to /2, /1 and /0; /0 answers with a page."""
    number = int(visit.target[1:])
    visit.send(http(b"hello") if number == 0 else http(b"", status="302 Found", Location=f"/{number - 1}"))


def test_five_redirects_are_followed_and_not_a_sixth(site: Callable[..., Site]) -> None:
    server = site(count_down)
    assert fetch(server, "/5").text == "hello"
    assert len(server.visits) == 6
    assert refusal(server, "/6") == "More than 5 redirects"
    assert len(server.visits) == 12


def refresh_to(url: str) -> bytes:
    page = f'<html><head><meta http-equiv="refresh" content="0; url={url}"></head><body></body></html>'
    return http(page.encode(), "text/html")


def test_a_page_that_only_refreshes_is_a_redirect(site: Callable[..., Site]) -> None:
    last = site(lambda visit: visit.send(http(b"hello")))
    first = site(
        lambda visit: visit.send(
            refresh_to("../b?c=d") if visit.target == "/a/" else refresh_to(f"http://last.example:{last.port}/x")
        )
    )
    page = fetcher_for(first, last).fetch(f"http://first.example:{first.port}/a/")
    assert (page.url, page.text) == (f"http://last.example:{last.port}/x", "hello")
    assert [visit.target for visit in first.visits] == ["/a/", "/b?c=d"]


def test_refreshes_count_as_redirects(site: Callable[..., Site]) -> None:
    def answer(visit: Visit) -> None:
        number = int(visit.target[1:])
        to = f"/{number - 1}"
        moved = refresh_to(to) if number % 2 else http(b"", status="302 Found", Location=to)
        visit.send(http(b"hello") if number == 0 else moved)

    server = site(answer)
    assert fetch(server, "/5").text == "hello"
    assert refusal(server, "/6") == "More than 5 redirects"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://other.example/", "Only http and https addresses on ports 80 and 443"),
        ("javascript:alert(1)", "Only http and https addresses on ports 80 and 443"),
        ("http://other.example:22/", "Only http and https addresses on ports 80 and 443"),
        ("http://user:secret@other.example/", CANNOT_OPEN),
        ("/" + "a" * 3000, CANNOT_OPEN),
        ("http://[::1/", CANNOT_OPEN),
    ],
)
def test_where_a_refresh_leads_is_checked(site: Callable[..., Site], url: str, message: str) -> None:
    server = site(lambda visit: visit.send(refresh_to(url)))
    fetcher = Fetcher(
        resolve=lambda *_: ["127.0.0.1"],
        is_allowed=lambda _: True,
        ports=frozenset({80, server.port}),
        max_seconds=PATIENCE,
    )
    with pytest.raises(PageRefused) as refused:
        fetcher.fetch(f"http://page.example:{server.port}/")
    assert refused.value.message == message
    assert len(server.visits) == 1


def test_a_refresh_to_an_inner_address_is_not_followed(site: Callable[..., Site]) -> None:
    server = site(lambda visit: visit.send(refresh_to(f"http://inside.example:{visit.sock.getsockname()[1]}/")))
    fetcher = Fetcher(
        resolve=lambda host, _: ["10.0.0.1" if host == "inside.example" else "127.0.0.1"],
        is_allowed=lambda address: address == "127.0.0.1",
        ports=frozenset({server.port}),
        max_seconds=PATIENCE,
    )
    with pytest.raises(PageRefused) as refused:
        fetcher.fetch(f"http://page.example:{server.port}/")
    assert refused.value.message == CANNOT_OPEN
    assert len(server.visits) == 1


def test_a_location_may_be_told_twice_but_not_two_of_them(site: Callable[..., Site]) -> None:
    def answer(visit: Visit) -> None:
        moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\nLocation: /b\r\nLocation: %s\r\n\r\n"
        targets = {"/same": moved % b"/b", "/other": moved % b"/c"}
        visit.send(targets.get(visit.target, http(b"hello")))

    server = site(answer)
    assert fetch(server, "/same").text == "hello"
    assert refusal(server, "/other") == CANNOT_OPEN


def test_a_redirect_to_itself_ends(site: Callable[..., Site]) -> None:
    server = site(lambda visit: visit.send(http(b"", status="302 Found", Location=visit.target)))
    assert refusal(server) == "More than 5 redirects"
    assert len(server.visits) == 6


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "403 No", "404 No", "500 No", "302 Found"])
def test_an_error_status_tells_nothing(site: Callable[..., Site], status: str) -> None:
    server = site(lambda visit: visit.send(http(b"secret of the page", status=status)))
    assert refusal(server) == CANNOT_OPEN


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"-ERR unknown command\r\n", b"HTTP/1.1 999999 x\r\n\r\n", b"\x00" * 100],
)
def test_what_is_no_http_tells_nothing(site: Callable[..., Site], answer: bytes) -> None:
    assert refusal(site(lambda visit: visit.send(answer))) == CANNOT_OPEN


def test_all_that_lies_in_the_network_has_the_same_words(site: Callable[..., Site]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]

    def fail(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    plain = site(lambda visit: visit.send(http(b"hello")), greets=True)
    allowed: dict[str, Any] = {"is_allowed": lambda _: True, "ports": frozenset({closed, plain.port})}
    allowed["max_seconds"] = PATIENCE
    bodies = []
    for fetcher, url in [
        (Fetcher(resolve=lambda *_: ["127.0.0.1"], **allowed), f"http://closed.example:{closed}/"),
        (Fetcher(resolve=fail, **allowed), f"http://absent.example:{closed}/"),
        (Fetcher(resolve=lambda *_: [], **allowed), f"http://empty.example:{closed}/"),
        (Fetcher(), "http://127.0.0.1/"),
        (Fetcher(resolve=lambda *_: ["10.0.0.1"]), "http://private.example/"),
        (Fetcher(resolve=lambda *_: ["127.0.0.1"], **allowed), f"https://no-tls.example:{plain.port}/"),
    ]:
        with pytest.raises(PageRefused) as refused:
            fetcher.fetch(url)
        bodies.append((refused.value.status, error_body(refused.value, "id")))
    expected = {
        "detail": "Validation error",
        "code": "validation_error",
        "request_id": "id",
        "errors": [{"field": "body.url", "message": "The address can't be opened"}],
    }
    assert bodies == [(422, expected)] * len(bodies)


def test_the_next_address_is_tried_when_one_is_closed(site: Callable[..., Site]) -> None:
    server = site(lambda visit: visit.send(http(b"hello")))
    fetcher = Fetcher(
        resolve=lambda *_: ["127.0.0.2", "127.0.0.1"],
        is_allowed=lambda _: True,
        ports=frozenset({server.port}),
        max_seconds=PATIENCE,
    )
    assert fetcher.fetch(f"http://page.example:{server.port}/").text == "hello"


def test_nothing_is_left_behind(site: Callable[..., Site], eventually: Callable[..., Any]) -> None:
    """No descriptor and no thread, whether a page was read, refused or cut off."""

    server = site(lambda visit: drip_body(visit) if visit.target == "/slow" else visit.send(http(b"hello")))
    process = psutil.Process()
    fetch(server)
    before = process.num_fds()
    for _ in range(5):
        fetch(server)
        refusal(server, "/slow", max_seconds=0.1)
        refusal(server, max_bytes=3)
        refusal(server, scheme="https", max_seconds=0.1)
    server.close()
    eventually(lambda: not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)])
    eventually(lambda: process.num_fds() < before + 5)


# --- Sizes -----------------------------------------------------------------------------------------------------------


def test_five_megabytes_are_read_and_no_byte_more(site: Callable[..., Site]) -> None:
    server = site(lambda visit: visit.send(http(b"a" * int(visit.target[1:]))))
    assert len(fetch(server, f"/{5 * MEGABYTE}").text) == 5 * MEGABYTE
    assert refusal(server, f"/{5 * MEGABYTE + 1}") == TOO_LARGE


def test_an_endless_body_is_cut(site: Callable[..., Site]) -> None:
    def answer(visit: Visit) -> None:
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            visit.send(b"a" * 65536)

    assert refusal(site(answer)) == TOO_LARGE


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", lambda data: zlib.compress(data, wbits=-15))],
)
def test_a_packed_page_is_unpacked_and_counted(
    site: Callable[..., Site], encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    bomb, page = pack(b"a" * 200 * MEGABYTE), pack(b"hello")
    assert len(bomb) < MEGABYTE
    server = site(lambda visit: visit.send(http(bomb if visit.target == "/bomb" else page, Content_Encoding=encoding)))
    assert fetch(server).text == "hello"
    assert refusal(server, "/bomb") == TOO_LARGE


def test_packed_bytes_that_unpack_to_nothing_are_counted(site: Callable[..., Site]) -> None:
    """An endless file name in gzip's header."""

    def answer(visit: Visit) -> None:
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\n\r\n")
        visit.send(b"\x1f\x8b\x08\x08\0\0\0\0\0\x03")
        while True:
            visit.send(b"a" * 65536)

    assert refusal(site(answer)) == TOO_LARGE


gzipped = functools.partial(gzip.compress, mtime=0)


def packed_by(encoding_lines: bytes, body: bytes) -> Answer:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    return lambda visit: visit.send(head + encoding_lines + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (b"Content-Encoding: gzip\r\n", gzipped(b"hel") + gzipped(b"lo")),
        (b"Content-Encoding: gzip\r\n", gzipped(b"hello") + gzipped(b"")),
        (b"Content-Encoding: gzip\r\n", gzipped(b"hello") + b"\0" * 500),
        (b"Content-Encoding: gzip\r\n", gzipped(b"hello") + b"\x1e garbage"),
        (b"Content-Encoding: x-gzip\r\n", gzipped(b"hello")),
        (b"Content-Encoding:  X-GZip \r\n", gzipped(b"hello")),
        (b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", gzipped(b"hello")),
        (b"Content-Encoding: gzip, x-gzip\r\nContent-Encoding: gzip\r\n", gzipped(b"hello")),
        (b"Content-Encoding: deflate\r\nContent-Encoding: deflate\r\n", zlib.compress(b"hello") + b"garbage"),
        (b"Content-Encoding: \r\n", b"hello"),
        (b"Content-Encoding: identity\r\nContent-Encoding: identity\r\n", b"hello"),
        (b"Content-Encoding: identity, gzip\r\n", gzipped(b"hello")),
        (b"Content-Type: text/plain\r\n", b"hello"),
    ],
)
def test_a_packed_page_is_read_as_browsers_do(site: Callable[..., Site], lines: bytes, body: bytes) -> None:
    assert fetch(site(packed_by(lines, body))).text == "hello"


LETTERS = b"".join(b"%d " % number for number in range(2000))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzipped(LETTERS)[:-1]),
        ("gzip", gzipped(LETTERS)[: len(gzipped(LETTERS)) // 2]),
        ("gzip", gzipped(LETTERS)[:5]),
        ("gzip", b""),
        ("gzip", gzipped(LETTERS) + gzipped(b"hello")[:-4]),
        ("gzip", gzipped(LETTERS) + b"\x1f"),
        ("gzip", gzipped(LETTERS)[:-8] + b"\0" * 8),
        ("gzip", gzipped(b"") * 2000),
        ("deflate", zlib.compress(LETTERS)[:-1]),
        ("deflate", zlib.compress(LETTERS, wbits=-15)[:-1]),
        ("deflate", b""),
    ],
)
def test_a_packed_page_that_is_cut_short_is_refused(site: Callable[..., Site], encoding: str, body: bytes) -> None:
    assert refusal(site(lambda visit: visit.send(http(body, Content_Encoding=encoding)))) == CANNOT_READ


def test_the_bound_holds_over_all_members(site: Callable[..., Site]) -> None:
    member = gzip.compress(b"a" * MEGABYTE)
    server = site(lambda visit: visit.send(http(member * int(visit.target[1:]), "text/plain", Content_Encoding="gzip")))
    assert len(fetch(server, "/5").text) == 5 * MEGABYTE
    assert refusal(server, "/6") == TOO_LARGE


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, deflate", "gzip, br", "nonsense"])
def test_other_packings_are_refused(site: Callable[..., Site], encoding: str) -> None:
    body = gzip.compress(gzip.compress(b"hello"))
    assert refusal(site(lambda visit: visit.send(http(body, Content_Encoding=encoding)))) == CANNOT_READ


def test_what_is_packed_twice_is_no_page(site: Callable[..., Site]) -> None:
    body = gzip.compress(gzip.compress(b"hello"))
    assert refusal(site(lambda visit: visit.send(http(body, Content_Encoding="gzip, gzip")))) == WRONG_TYPE


@pytest.mark.parametrize(
    "answer",
    [
        http(b"no gzip", Content_Encoding="gzip"),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_a_broken_body_is_not_read(site: Callable[..., Site], answer: bytes) -> None:
    assert refusal(site(lambda visit: visit.send(answer))) == CANNOT_READ


def test_headers_are_bounded(site: Callable[..., Site]) -> None:
    server = site(lambda visit: visit.send(http(b"hello", X_Filler="a" * int(visit.target[1:]))))
    assert fetch(server, "/50000").text == "hello"
    assert refusal(server, "/1000000") == CANNOT_OPEN


# --- Time ------------------------------------------------------------------------------------------------------------


def drip_body(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    visit.drip(b"a" * 1000)


def drip_chunks(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    visit.drip(b"1\r\na\r\n" * 200)


def drip_interim_answers(visit: Visit) -> None:
    visit.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)


def hang_in_the_body(visit: Visit) -> None:
    visit.send(http(b"abc")[:-1])
    visit.hang()


def redirect_slowly(visit: Visit) -> None:
    visit.closing.wait(0.1)
    visit.send(http(b"", status="302 Found", Location="/"))


SLOW: dict[str, Answer] = {
    "body": drip_body,
    "chunks": drip_chunks,
    "headers": lambda visit: visit.drip(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1000),
    "interim answers": drip_interim_answers,
    "silence": lambda visit: visit.hang(),
    "silence in the body": hang_in_the_body,
    "redirects": redirect_slowly,
}

# The start of a TLS record of 16 KB that holds a ServerHello of 16 KB.
DRIPPED_TLS = b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xf0\x03\x03" + b"\x00" * 1000


@pytest.mark.parametrize("slow", SLOW)
def test_a_slow_page_is_left_at_the_deadline(site: Callable[..., Site], slow: str) -> None:
    server = site(SLOW[slow])
    started = time.monotonic()
    assert refusal(server, max_seconds=0.4, max_redirects=100) == "The page took longer than 0.4 seconds"
    assert time.monotonic() - started >= 0.4


def test_slow_tls_is_left_at_the_deadline(site: Callable[..., Site]) -> None:
    server = site(lambda visit: visit.drip(DRIPPED_TLS), greets=True)
    started = time.monotonic()
    assert refusal(server, scheme="https", max_seconds=0.4) == "The page took longer than 0.4 seconds"
    assert time.monotonic() - started >= 0.4


def test_a_slow_look_up_is_left_at_the_deadline(site: Callable[..., Site]) -> None:
    server = site(lambda visit: visit.send(http(b"hello")))

    def resolve(host: str, port: int) -> list[str]:
        server.closing.wait(600)
        return ["127.0.0.1"]

    fetcher = Fetcher(resolve=resolve, max_seconds=0.4)
    started = time.monotonic()
    with pytest.raises(PageRefused) as refused:
        fetcher.fetch("http://slow.example/")
    assert refused.value.message == "The page took longer than 0.4 seconds"
    assert time.monotonic() - started < 300


GEVENT_SCRIPT = """
import gevent.monkey
gevent.monkey.patch_all()
import sys
import django, gevent
django.setup()
from ai.fetch_url import Fetcher, PageRefused

ticks = 0
def tick():
    global ticks
    while True:
        gevent.sleep(0.01)
        ticks += 1
gevent.spawn(tick)
fetcher = Fetcher(
    resolve=lambda host, port: ["127.0.0.1"], is_allowed=lambda _: True,
    ports=frozenset({int(sys.argv[2])}), max_seconds=float(sys.argv[3]),
)
try:
    print(fetcher.fetch(f"{sys.argv[1]}://page.example:{sys.argv[2]}/").text)
except PageRefused as refused:
    print(refused.message)
print(ticks > 5)
"""


def under_gevent(scheme: str, port: int, seconds: float) -> str:
    """The output of a process with gevent's patches, as in gunicorn."""
    command = [sys.executable, "-c", GEVENT_SCRIPT, scheme, str(port), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("slow", ["body", "tls"])
def test_under_gevent_the_deadline_holds_and_nobody_else_waits(site: Callable[..., Site], slow: str) -> None:
    tls = slow == "tls"
    server = site((lambda visit: visit.drip(DRIPPED_TLS)) if tls else SLOW[slow], greets=tls)
    printed = under_gevent("https" if tls else "http", server.port, 1)
    assert printed == "The page took longer than 1 seconds\nTrue\n"


def endless_hints(visit: Visit) -> None:
    """Informational responses, sent as fast as the client reads them."""
    while not visit.closing.is_set():
        visit.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000)


def many_headers(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 100_000 + b"\r\n")


def tiny_chunks(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not visit.closing.is_set():
        visit.send(b"1\r\na\r\n" * 10_000)


@pytest.mark.parametrize(
    ("answer", "message"), [(endless_hints, CANNOT_OPEN), (many_headers, CANNOT_OPEN), (tiny_chunks, CANNOT_READ)]
)
def test_an_answer_in_very_many_pieces_is_refused_and_nobody_waits(
    site: Callable[..., Site], answer: Answer, message: str
) -> None:
    """Reading from a server that always has more data never blocks, so only the reader can end it."""
    server = site(answer)
    assert refusal(server) == message
    assert under_gevent("http", server.port, PATIENCE).splitlines()[0] == message


def test_a_redirect_to_a_very_long_address_is_refused(site: Callable[..., Site]) -> None:
    server = site(lambda visit: visit.send(http(b"", status="302 Found", Location="/" + "a" * 3000)))
    assert refusal(server) == CANNOT_OPEN


@pytest.mark.parametrize(
    ("body", "printed"),
    [(b"<html><body><p>Hello from a page</p></body></html>", "Hello from a page"), (b"%PDF-1.7", CANNOT_READ)],
)
def test_under_gevent_a_page_is_read(site: Callable[..., Site], body: bytes, printed: str) -> None:
    def answer(visit: Visit) -> None:
        visit.closing.wait(0.5)
        visit.send(http(body, "text/html"))

    assert under_gevent("http", site(answer).port, PATIENCE) == f"{printed}\nTrue\n"


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_tls_is_for_the_name_and_not_the_address(site: Callable[..., Site]) -> None:
    server_tls, client_tls = certified("page.example")
    named: list[str | None] = []
    server_tls.sni_callback = lambda _, name, __: named.append(name)
    server = site(lambda visit: visit.send(http(b"hello")), tls=server_tls)
    assert fetch(server, scheme="https", ssl_context=client_tls).text == "hello"
    assert named == ["page.example"]
    assert server.visits[0].headers["host"] == f"page.example:{server.port}"


def test_a_certificate_of_another_name_is_refused(site: Callable[..., Site]) -> None:
    for name in ("other.example", "127.0.0.1"):
        server_tls, client_tls = certified(name)
        server = site(lambda visit: visit.send(http(b"hello")), tls=server_tls)
        assert refusal(server, scheme="https", ssl_context=client_tls) == CANNOT_OPEN
        assert server.visits == []


def test_a_certificate_that_only_the_environment_vouches_for_is_refused(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server_tls, client_tls = certified("page.example")
    (certificate,) = client_tls.get_ca_certs(binary_form=True)
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(ssl.DER_cert_to_PEM_cert(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    _ssl_context.cache_clear()
    server = site(lambda visit: visit.send(http(b"hello")), tls=server_tls)
    assert refusal(server, scheme="https") == CANNOT_OPEN
    assert server.visits == []
