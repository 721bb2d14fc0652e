"""The address under which a request is counted and recorded."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.test import RequestFactory, override_settings

from conftest import Api, Person
from edgechat.http.client_address import believe_scheme, client_address, limit_key
from edgechat.local.web import WebServer

PEER = "192.0.2.9"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, PEER),
        (0, "198.51.100.1", PEER),
        (1, None, PEER),
        (1, "", PEER),
        (1, "198.51.100.1", "198.51.100.1"),
        (1, "203.0.113.7, 198.51.100.1", "198.51.100.1"),
        (1, "203.0.113.7,198.51.100.1", "198.51.100.1"),
        (2, "203.0.113.7, 198.51.100.1", "203.0.113.7"),
        (2, "10.9.9.9, 203.0.113.7, 198.51.100.1", "203.0.113.7"),
        (2, "198.51.100.1", PEER),
        (3, "203.0.113.7, 198.51.100.1", PEER),
        (1, "rubbish", PEER),
        (1, "198.51.100.1, rubbish", PEER),
        (1, "198.51.100.1, ", PEER),
        (1, "<script>", PEER),
        (1, "999.1.1.1", PEER),
        (1, "010.001.001.001", PEER),
        (1, "x" * 5000, PEER),
        (1, "2001:DB8:0:0::1", "2001:db8::1"),
        (1, "::ffff:198.51.100.1", "198.51.100.1"),
        (1, "fe80::1%eth0", "fe80::1"),
        (1, "203.0.113.7:51234", "203.0.113.7"),
        (1, "198.51.100.1, 203.0.113.7:1", "203.0.113.7"),
        (2, "203.0.113.7:51234, 198.51.100.1:80", "203.0.113.7"),
        (1, "[2001:db8::1]:443", "2001:db8::1"),
        (1, "[2001:db8::1]", "2001:db8::1"),
        (1, "[2001:DB8:0::1]:65535", "2001:db8::1"),
        (1, '"[2001:db8::1]:443"', "2001:db8::1"),
        (1, '198.51.100.1, "203.0.113.7:51234"', "203.0.113.7"),
        (1, "[fe80::1%eth0]:443", "fe80::1"),
        (1, "[fe80::1%25eth0]", "fe80::1"),
        (1, "[::ffff:198.51.100.1]:8080", "198.51.100.1"),
        (1, "::ffff:198.51.100.1:8080", "198.51.100.1"),
        (1, "2001:db8::1:443", "2001:db8::1:443"),
        (1, "203.0.113.7:http", PEER),
        (1, "203.0.113.7:123456", PEER),
        (1, "203.0.113.7:1:2", PEER),
        (1, "[2001:db8::1", PEER),
        (1, "2001:db8::1]:443", PEER),
        (1, "[2001:db8::1]x", PEER),
        (1, "[[2001:db8::1]]", PEER),
        (1, "[]:443", PEER),
        (1, ":443", PEER),
        (1, "unknown", PEER),
        (1, "::FFFF:C633:6401", "198.51.100.1"),
        (1, "[::ffff:c633:6401]:9", "198.51.100.1"),
        (1, "[2001:db8::1%eth0.7]:443", "2001:db8::1"),
        (1, "[203.0.113.7]:80", "203.0.113.7"),
        (1, "203.0.113.7 :80", PEER),
        (1, "203.0.113.7:", PEER),
        (1, "-203.0.113.7", PEER),
        (1, "203.0.113.7, , 198.51.100.1", "198.51.100.1"),
        (2, "203.0.113.7, , 198.51.100.1", PEER),
        (1, "\t203.0.113.7:51234\t", "203.0.113.7"),
        (1, "203.0.113.\u0667", PEER),
    ],
)
def test_only_what_trusted_proxies_appended_counts(proxies: int, forwarded: str | None, address: str) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR=PEER)
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    with override_settings(TRUSTED_PROXY_COUNT=proxies):
        assert client_address(request) == address


@pytest.mark.parametrize(
    ("proxies", "forwarded", "secure"),
    [
        (0, "https", False),
        (1, "https", True),
        (1, "http", False),
        (1, "https, http", False),
        (1, "http, https", True),
        (1, "http,HTTPS", True),
        (2, "https, http", True),
        (2, "http, https", False),
        (2, "https, http, https", False),
        (2, "https", True),
        (2, "http", False),
        (3, "https, http", False),
        (3, "http, https", False),
        (3, "https, https", True),
        (3, "https", True),
        (2, '"https"', True),
        (2, "https,", True),
        (2, ", https", False),
        (1, "https, ", False),
        (1, "", False),
        (1, "httpsx", False),
    ],
)
def test_the_scheme_counts_from_the_right_too(proxies: int, forwarded: str, secure: bool) -> None:
    request = RequestFactory().get("/", headers={"X-Forwarded-Proto": forwarded})
    believed = ("HTTP_X_FORWARDED_PROTO", "https") if proxies else None
    with override_settings(TRUSTED_PROXY_COUNT=proxies, SECURE_PROXY_SSL_HEADER=believed):
        believe_scheme(request)
        assert request.is_secure() is secure


def test_a_unix_socket_without_proxies_has_no_address() -> None:
    with override_settings(TRUSTED_PROXY_COUNT=0):
        assert client_address(RequestFactory().get("/", REMOTE_ADDR="")) == ""
    assert limit_key("") == ""


def test_a_limit_is_shared_by_an_ipv6_network_of_64_bits() -> None:
    assert limit_key("2001:db8:1:2:3:4:5:6") == limit_key("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert limit_key("2001:db8:1:3::1") != limit_key("2001:db8:1:2::1")
    assert limit_key("198.51.100.1") == "198.51.100.1"


def recorded_address(person: Person, forwarded: str) -> str:
    """The recorded address of a new session of this user."""
    body = {"email": f"{uuid.uuid4().hex}@example.com", "password": person.password}
    answer = Api(person.origin).post("auth/register", json=body, headers={"X-Forwarded-For": forwarded})
    from accounts.models import Session

    assert answer.status_code == 201, answer.text
    return str(Session.objects.get(user__email=body["email"]).ip)


@pytest.mark.parametrize(("proxies", "expected"), [("0", "127.0.0.1"), ("2", "203.0.113.7")])
def test_sessions_record_the_address_over_http(
    start_web: Callable[..., WebServer], proxies: str, expected: str
) -> None:
    web = start_web(TRUSTED_PROXY_COUNT=proxies)
    carol = Person(web.url, "carol")
    assert recorded_address(carol, "198.51.100.1, 203.0.113.7, 192.0.2.1") == expected
    assert recorded_address(carol, "198.51.100.1") == "127.0.0.1"
    assert recorded_address(carol, '198.51.100.1, 203.0.113.7:51234, "[2001:db8::1]:443"') == expected
    carol.close()
