"""Whose request it is: X-Forwarded-For counted from the right, believed from as many proxies as are trusted."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Session
from conftest import Api, Person
from edgechat.client_address import client_address, limit_key
from edgechat.local.web import WebServer


def seen_address(api: Api, person: Person, **headers: str) -> str | None:
    """The address that the server keeps of a login with these headers."""
    body = {"email": person.email, "password": person.password}
    request = api.build_request("POST", "auth/login", json=body)
    del request.headers["X-Forwarded-For"]
    request.headers.update(headers)
    token = api.send(request).json()["access_token"]
    session_id = jwt.decode(token, options={"verify_signature": False})["sid"]
    return Session.objects.get(pk=session_id).ip


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("evil, 127.0.0.1,  203.0.113.7", "203.0.113.7"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, unknown", "127.0.0.1"),
        ("203.0.113.7,", "127.0.0.1"),
        ("203.0.113.7:1234", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_one_trusted_proxy_tells_the_last_entry(web_url: str, alice: Person, header: str, address: str) -> None:
    with Api(web_url) as api:
        assert seen_address(api, alice, **{"X-Forwarded-For": header}) == address


def test_without_the_header_the_socket_counts(web_url: str, alice: Person) -> None:
    with Api(web_url) as api:
        assert seen_address(api, alice) == "127.0.0.1"


def test_no_header_counts_without_trusted_proxies(start_web: Callable[..., WebServer], alice: Person) -> None:
    web = start_web(TRUSTED_PROXY_COUNT="0")
    with Api(web.url) as api:
        for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "CF-Connecting-IP"):
            assert seen_address(api, alice, **{name: "203.0.113.7"}) == "127.0.0.1"


addresses = st.ip_addresses().map(str)
entries = st.one_of(addresses, st.text(alphabet="0123456789abc.:%[] ", max_size=20), st.just("unknown"))


def request_with(chain: list[str], peer: str) -> Any:
    return SimpleNamespace(META={"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": ", ".join(chain)})


@given(chain=st.lists(entries, max_size=5), peer=addresses, count=st.integers(0, 4))
def test_the_address_is_always_canonical_and_one_that_was_given(chain: list[str], peer: str, count: int) -> None:
    with override_settings(TRUSTED_PROXY_COUNT=count):
        address = client_address(request_with(chain, peer))
    assert str(ipaddress.ip_address(address)) == address
    assert limit_key(address)


@given(spoofed=st.lists(entries, max_size=4), seen=st.lists(addresses, min_size=3, max_size=3), peer=addresses)
def test_what_a_client_adds_on_the_left_changes_nothing(spoofed: list[str], seen: list[str], peer: str) -> None:
    with override_settings(TRUSTED_PROXY_COUNT=3):
        alone = client_address(request_with(seen, peer))
        assert client_address(request_with([*spoofed, *seen], peer)) == alone


@given(network=st.ip_addresses(v=6), host=st.integers(0, 2**64 - 1))
def test_an_ipv6_customer_has_one_limit_for_the_whole_64(network: ipaddress.IPv6Address, host: int) -> None:
    base = ipaddress.ip_network((network, 64), strict=False).network_address
    assert limit_key(str(base + host)) == limit_key(str(base)) == f"{base}/64"
