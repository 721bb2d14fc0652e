"""Addresses that a page's URL must never reach. The tests record every connection attempt of the process."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ai.fetch_url import Fetcher, PageRefused
from ai.fetch_url.addresses import is_public, look_up
from ai.fetch_url.limits import CANNOT_OPEN, WRONG_ADDRESS
from ai.tests.sites import Answer, Site, Visit, http, listener, was_connected_to

NAMES = {
    "loopback.example": ["127.0.0.1"],
    "loopback6.example": ["::1"],
    "private.example": ["10.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "both.example": ["93.184.215.14", "127.0.0.1"],
    "both-turned.example": ["127.0.0.1", "93.184.215.14"],
    "both6.example": ["2606:4700::1111", "::1"],
    "zone.example": ["fe80::1%lo"],
    "nowhere.example": [],
}


def resolve(host: str, port: int) -> list[str]:
    return NAMES[host] if host in NAMES else look_up(host, port)


class Connections:
    """The targets of this thread's connection attempts."""

    def __init__(self) -> None:
        self.tried: list[object] = []
        self.thread: int | None = None

    def see(self, event: str, args: tuple[object, ...]) -> None:
        if event == "socket.connect" and threading.get_ident() == self.thread:
            self.tried.append(args[1])


_connections = Connections()
sys.addaudithook(_connections.see)


@pytest.fixture
def connections() -> Iterator[Connections]:
    _connections.tried.clear()
    _connections.thread = threading.get_ident()
    yield _connections
    _connections.thread = None


@pytest.fixture
def site() -> Iterator[Callable[[Answer], Site]]:
    sites: list[Site] = []

    def start(answer: Answer) -> Site:
        sites.append(Site(answer))
        return sites[-1]

    yield start
    for started in sites:
        started.close()


# P and Q are the ports of listeners on 127.0.0.1 and ::1.
HOSTILE = [
    # loopback, in every notation
    "http://127.0.0.1:P/",
    "http://127.0.0.1:P",
    "https://127.0.0.1:P/",
    "HTTP://127.0.0.1:P/",
    "http://127.1:P/",
    "http://127.0.1:P/",
    "http://127.255.255.254:P/",
    "http://2130706433:P/",
    "http://017700000001:P/",
    "http://0x7f000001:P/",
    "http://0x7f.1:P/",
    "http://0x7f.0.0.1:P/",
    "http://0x7F.0x0.0x0.0x1:P/",
    "http://0177.0.0.1:P/",
    "http://0177.1:P/",
    "http://00000177.0.0.01:P/",
    "http://127.0.0.1.:P/",
    "http://0:P/",
    "http://0.0.0.0:P/",
    "http://00.0.0.0:P/",
    "http://localhost:P/",
    "http://LOCALHOST:P/",
    "http://localhost.:P/",
    "http://127。0。0。1:P/",
    "http://127．0．0．1:P/",
    "http://１２７.0.0.1:P/",
    "http://①②⑦.⓪.⓪.①:P/",
    "http://١٢٧.0.0.1:P/",
    "http://ⓛocalhost:P/",
    "http://local\u00adhost:P/",
    "http://127.0.0.1%00.example.com:P/",
    "http://%31%32%37.0.0.1:P/",
    # this machine over IPv6
    "http://[::1]:Q/",
    "http://[0:0:0:0:0:0:0:1]:Q/",
    "http://[::0001]:Q/",
    "http://[::]:Q/",
    "http://[::1%25lo]:Q/",
    "http://[::1%lo]:Q/",
    "http://[::1%é]:Q/",
    "http://[::ffff:127.0.0.1]:P/",
    "http://[::ffff:7f00:1]:P/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:P/",
    "http://[::127.0.0.1]:P/",
    "http://[64:ff9b::127.0.0.1]:P/",
    "http://[64:ff9b:1::7f00:1]:P/",
    "http://[2002:7f00:1::]:P/",
    "http://[2001:0:7f00:1::]:P/",
    "http://[fe80::1]:Q/",
    "http://[fe80::1%25eth0]:Q/",
    "http://[fec0::1]:Q/",
    "http://[fc00::1]:Q/",
    "http://[fd00:ec2::254]:Q/",
    "http://[ff02::1]:Q/",
    "http://[100::1]:Q/",
    "http://[2001:db8::1]:Q/",
    # internal networks
    "http://10.0.0.1:P/",
    "http://172.16.0.1:P/",
    "http://172.31.255.255:P/",
    "http://192.168.0.1:P/",
    "http://100.64.0.1:P/",
    "http://100.127.255.254:P/",
    "http://198.18.0.1:P/",
    "http://192.0.0.1:P/",
    "http://169.254.169.254:P/latest/meta-data/",
    "http://2852039166:P/",
    "http://0xa9fea9fe:P/",
    "http://[::ffff:169.254.169.254]:P/",
    "http://168.63.129.16:P/",
    "http://100.100.100.200:P/",
    "http://224.0.0.1:P/",
    "http://240.0.0.1:P/",
    "http://255.255.255.255:P/",
    # names that resolve to internal addresses
    "http://loopback.example:P/",
    "https://loopback.example:P/",
    "http://LOOPBACK.example:P/",
    "http://loopback。example:P/",
    "http://loopback6.example:Q/",
    "http://private.example:P/",
    "http://metadata.example:P/",
    "http://mapped.example:P/",
    "http://both.example:P/",
    "http://both-turned.example:P/",
    "http://both6.example:Q/",
    "http://zone.example:Q/",
    "http://nowhere.example:P/",
    "http://does-not-exist.invalid:P/",
    # what a URL can hide
    "http://user@127.0.0.1:P/",
    "http://user:password@127.0.0.1:P/",
    "http://93.184.215.14@127.0.0.1:P/",
    "http://user:password@93.184.215.14:P/",
    "http://93.184.215.14:P@127.0.0.1:P/",
    "http://127.0.0.1:P\\@93.184.215.14/",
    "http://93.184.215.14\\@127.0.0.1:P/",
    "http:\\\\127.0.0.1:P\\",
    "http://127.0.0.1:P#@93.184.215.14/",
    "http://127.0.0.1:P?@93.184.215.14/",
    " http://127.0.0.1:P/",
    "http://127.0.0.1:P/ ",
    "http:// 127.0.0.1:P/",
    "http://127.0.0.1 :P/",
    "\thttp://127.0.0.1:P/",
    "ht\ntp://127.0.0.1:P/",
    "http://127.0.0.1:P/\r\nHost: inside",
    "http://93.184.215.14:P/\r\nX-Injected: 1",
    "http://93.184.215.14\r\n@127.0.0.1:P/",
    "http://93.184.215.14:P/\x00",
    "http://127.0.0.1\u3000:P/",
    "http://",
    "http:///",
    "http://:P/",
    "http://@:P/",
    "http://.:P/",
    "http://..:P/",
    "http://.127.0.0.1:P/",
    "http://xn--:P/",
    "http://xn--a:P/",
    "http://\ud800:P/",
    "http://[:P/",
    "http://[]:P/",
    "http://[127.0.0.1]:P/",
    "http://[::1:Q/",
    "http://" + "a" * 300 + ":P/",
    "http://" + "a." * 500 + "example:P/",
    "http://93.184.215.14:P/" + "a" * 3000,
    "http://127.0.0.1:P/" + "a" * 100_000,
    "",
    # schemes other than http and https, and other ports
    "127.0.0.1:P",
    "//127.0.0.1:P/",
    "/etc/passwd",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "ftp://127.0.0.1:P/",
    "gopher://127.0.0.1:P/_GET",
    "dict://127.0.0.1:P/",
    "ws://127.0.0.1:P/",
    "javascript:alert(1)",
    "data:text/plain,hello",
    "http+unix://%2Frun%2Fdocker.sock/info",
    "http:127.0.0.1:P",
    "http://93.184.215.14:22/",
    "http://93.184.215.14:6379/",
    "http://93.184.215.14:8080/",
    "https://93.184.215.14:8443/",
    "http://93.184.215.14:65616/",
    "http://93.184.215.14:-80/",
    "http://93.184.215.14:0/",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_url_opens_no_connection(url: str, connections: Connections) -> None:
    with listener("127.0.0.1") as inside, listener("::1") as inside6:
        port, port6 = inside.getsockname()[1], inside6.getsockname()[1]
        # A resolver that nobody answers may take longer than a page may.
        fetcher = Fetcher(resolve=resolve, ports=frozenset({80, 443, port, port6}), max_seconds=120)
        with pytest.raises(PageRefused) as refused:
            fetcher.fetch(url.replace("P", str(port)).replace("Q", str(port6)))
        assert refused.value.message in (CANNOT_OPEN, WRONG_ADDRESS)
        assert connections.tried == []
        assert not was_connected_to(inside)
        assert not was_connected_to(inside6)


def hang_up(sock: socket.socket) -> None:
    """Wait for a connection, and close it."""
    sock.settimeout(120)
    sock.accept()[0].close()


@pytest.mark.parametrize(
    ("url", "peer"),
    [("http://127.0.0.1:P/", "127.0.0.1"), ("http://2130706433:P/", "127.0.0.1"), ("http://[::1]:P/", "::1")],
)
def test_only_the_check_of_the_address_keeps_it_out(url: str, peer: str, connections: Connections) -> None:
    with listener(peer) as inside, ThreadPoolExecutor() as pool:
        hung_up = pool.submit(hang_up, inside)
        port = inside.getsockname()[1]
        fetcher = Fetcher(ports=frozenset({port}), is_allowed=lambda _: True, max_seconds=60)
        with pytest.raises(PageRefused):
            fetcher.fetch(url.replace("P", str(port)))
        assert [address[0] for address in connections.tried if isinstance(address, tuple)] == [peer]
        hung_up.result()


@given(st.one_of(st.text(max_size=80), st.text(max_size=60).map("http://{}".format)))
@example("http://[::1%é]/")
@example("http://xn--/")
@example("http://a:" + "9" * 5000)
def test_any_text_is_refused_and_nothing_worse(url: str) -> None:
    def nothing(host: str, port: int) -> list[str]:
        return []

    with pytest.raises(PageRefused) as refused:
        Fetcher(resolve=nothing).fetch(url)
    assert refused.value.message in (CANNOT_OPEN, WRONG_ADDRESS)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:P/",
        "//127.0.0.1:P/",
        "http://2130706433:P/",
        "http://[::1]:Q/",
        "http://[::ffff:127.0.0.1]:P/",
        "http://localhost:P/",
        "http://loopback.example:P/",
        "http://both.example:P/",
        "http://169.254.169.254/latest/meta-data/",
        "http://user:password@public.example:S/",
        "https://127.0.0.1:P/",
        "http:///",
        "http://[",
        "http://public.example:S\\@127.0.0.1:P/",
    ],
)
def test_a_redirect_inside_opens_no_connection(
    location: str, site: Callable[[Answer], Site], connections: Connections
) -> None:
    with listener("127.0.0.1") as inside, listener("::1") as inside6:
        port, port6 = inside.getsockname()[1], inside6.getsockname()[1]

        def answer_redirect(visit: Visit) -> None:
            to = location.replace("P", str(port)).replace("Q", str(port6)).replace("S", str(server.port))
            visit.send(http(b"", status="302 Found", Location=to))

        server = site(answer_redirect)
        fetcher = Fetcher(
            resolve=lambda host, number: ["127.0.0.1"] if host == "public.example" else resolve(host, number),
            # The site's address is on loopback, as the target's is, so the site counts as public by its port.
            is_allowed=allowing_once(),
            ports=frozenset({80, 443, port, port6, server.port}),
            max_seconds=120,
        )
        with pytest.raises(PageRefused) as refused:
            fetcher.fetch(f"http://public.example:{server.port}/")
        assert refused.value.message == CANNOT_OPEN
        assert connections.tried == [("127.0.0.1", server.port)]
        assert not was_connected_to(inside)
        assert not was_connected_to(inside6)


def allowing_once() -> Callable[[str], bool]:
    """The real check, but the first address counts as public."""
    asked: list[str] = []

    def allowed(address: str) -> bool:
        asked.append(address)
        return len(asked) == 1 or is_public(address)

    return allowed


@pytest.mark.parametrize(
    "location",
    ["ftp://public.example/", "file:///etc/passwd", "http://public.example:22/", "gopher://public.example/", "data:,a"],
)
def test_a_redirect_to_another_scheme_or_port_is_refused(
    location: str, site: Callable[[Answer], Site], connections: Connections
) -> None:
    server = site(lambda visit: visit.send(http(b"", status="301 Moved", Location=location)))
    fetcher = Fetcher(resolve=lambda *_: ["127.0.0.1"], is_allowed=lambda _: True, ports=frozenset({server.port}))
    with pytest.raises(PageRefused) as refused:
        fetcher.fetch(f"http://public.example:{server.port}/")
    assert refused.value.message == WRONG_ADDRESS
    assert connections.tried == [("127.0.0.1", server.port)]


@pytest.mark.parametrize(
    "url",
    [
        "http://page.example\\.inside.example:S/",
        "http://page.example:S/a\\b",
        "http://page.example:S/a b",
        "http://page.example:S/a\u3000b",
        "http://page.example:S/\x85",
        "http://page.example:S/" + "a" * 2048,
    ],
)
def test_what_programs_disagree_about_is_not_asked_for(
    url: str, site: Callable[[Answer], Site], connections: Connections
) -> None:
    server = site(lambda visit: visit.send(http(b"hello")))
    fetcher = Fetcher(resolve=lambda *_: ["127.0.0.1"], is_allowed=lambda _: True, ports=frozenset({server.port}))
    with pytest.raises(PageRefused) as refused:
        fetcher.fetch(url.replace("S", str(server.port)))
    assert refused.value.message == CANNOT_OPEN
    assert connections.tried == []
    assert fetcher.fetch(f"http://page.example:{server.port}/").text == "hello"


def test_a_name_is_looked_up_once_and_connected_to_there(
    site: Callable[[Answer], Site], connections: Connections
) -> None:
    """The resolver's second answer would be another address of this machine."""
    server = site(lambda visit: visit.send(http(b"the first")))
    answers = [["127.0.0.1"], ["127.0.0.2"], ["::1"]]
    asked: list[tuple[str, int]] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return answers[len(asked) - 1]

    fetcher = Fetcher(
        resolve=rebinding, is_allowed=lambda address: address == "127.0.0.1", ports=frozenset({server.port})
    )
    assert fetcher.fetch(f"http://rebinding.example:{server.port}/").text == "the first"
    assert asked == [("rebinding.example", server.port)]
    assert connections.tried == [("127.0.0.1", server.port)]


def test_a_name_that_leads_inside_the_second_time_is_refused_at_the_redirect(
    site: Callable[[Answer], Site], connections: Connections
) -> None:
    server = site(lambda visit: visit.send(http(b"", status="302 Found", Location="/again")))
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    fetcher = Fetcher(
        resolve=lambda *_: next(answers),
        is_allowed=lambda address: address == "127.0.0.1",
        ports=frozenset({server.port}),
    )
    with pytest.raises(PageRefused) as refused:
        fetcher.fetch(f"http://rebinding.example:{server.port}/")
    assert refused.value.message == CANNOT_OPEN
    assert connections.tried == [("127.0.0.1", server.port)]


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "93.184.215.14",
        "1.1.1.1",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "2606:4700:4700::1111",
        "2a00:1450:4001:80b::200e",
    ],
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("", "name.example", "127.1", "8.8.8.8/32", "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255"),
        *("10.255.255.255", "172.16.0.0", "192.168.255.255", "169.254.0.1", "169.254.169.254", "168.63.129.16"),
        *("100.64.0.0", "100.127.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255"),
        *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:0:808:808::1"),
        *("2001:2::1", "2001:db8::1", "2001:10::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "4000::1"),
        *("5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%lo", "2606:4700::1%lo", "fec0::1", "ff02::1"),
    ],
)
def test_all_other_addresses_are_not(address: str) -> None:
    assert not is_public(address)
