"""The limit by client address."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2

import conftest
from edgechat.local.valkey import Valkey
from edgechat.local.web import WebServer
from edgechat.stores.redis import redis_client
from edgechat.tests.own_stores import OwnStores
from edgechat.tests.web_settings import SMALL, STRICT, TWO_PROCESSES

StartWeb = Callable[..., WebServer]


def ask(url: str, path: str, address: str, method: str = "GET") -> httpx2.Response:
    return conftest.ask(method, url + path, headers={"X-Forwarded-For": address})


def network() -> str:
    """The first half of an IPv6 /64 that no other test has."""
    parts = (random.SystemRandom().randrange(1, 65536) for _ in range(2))
    return "2001:db8:" + ":".join(f"{part:x}" for part in parts)


def test_beyond_the_limit_is_429_until_the_window_ends(web_with: Callable[..., str]) -> None:
    url = web_with(**STRICT)
    home, other = network(), network()
    began = time.time()
    # All paths and statuses count alike, and so do all addresses of one /64.
    allowed = [
        ask(url, "/", f"{home}::1"),
        ask(url, "/nowhere", f"{home}::2"),
        ask(url, "/api/v1/usage/me", f"{home}::3"),
        ask(url, "/api/v1/auth/login", f"{home}::4", "POST"),
        ask(url, "/api/v1/chat/conversations/", f"{home}:1:2:3:4"),
    ]
    assert [answer.status_code for answer in allowed] == [200, 404, 401, 422, 401]
    for path in ("/", "/nowhere", "/docs", "/admin/", "/api/v1/healthy", "/api/v1/health/x", "/static/x"):
        refused = ask(url, path, f"{home}::5")
        assert (refused.status_code, refused.json()) == (
            429,
            {
                "detail": "Too many requests",
                "code": "rate_limited",
                "request_id": refused.headers["X-Request-ID"],
            },
        ), path
        left = began + 600 - time.time()
        assert left <= int(refused.headers["Retry-After"]) <= 601
    # Refused requests do not move the end of the window.
    ttl = redis_client().pttl(f"edgechat:limit:{home}::/64")
    assert ttl / 1000 <= began + 600 - time.time() + 1 + (time.time() - began)
    for path in ("/api/v1/health", "/api/v1/health/", "/api/v1/health/ready", "/api/health", "/health", "/health/"):
        assert ask(url, path, f"{home}::1").status_code == 200
    assert ask(url, "/", f"{other}::1").status_code == 200


def test_a_counter_counts_exactly_under_concurrency(web_with: Callable[..., str]) -> None:
    url = web_with(**TWO_PROCESSES)
    address = f"{network()}::1"
    with ThreadPoolExecutor(15) as pool:
        answers = list(pool.map(lambda _: ask(url, "/", address).status_code, range(50)))
    assert (answers.count(200), answers.count(429)) == (20, 30)


def test_a_new_window_begins_when_the_old_one_has_ended(web_with: Callable[..., str]) -> None:
    url = web_with(**STRICT)
    home = network()
    assert [ask(url, "/", f"{home}::1").status_code for _ in range(6)] == [200] * 5 + [429]
    redis_client().pexpire(f"edgechat:limit:{home}::/64", 1)
    assert redis_client().exists(f"edgechat:limit:{home}::/64") in (0, 1)
    # A counter without an expiry, as in a restored dump, gets one.
    redis_client().set(f"edgechat:limit:{home}::/64", 7)
    assert ask(url, "/", f"{home}::1").headers["Retry-After"] == "600"
    assert redis_client().pttl(f"edgechat:limit:{home}::/64") > 0


def test_the_stricter_limit_of_login_is_by_address(web_with: Callable[..., str]) -> None:
    url = web_with(**SMALL)
    home, other = network(), network()
    answers = [ask(url, "/api/v1/auth/login", f"{home}::{n}", "POST") for n in range(5)]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 429, 429]
    assert answers[3].json()["code"] == "rate_limited"
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 3600
    assert ask(url, "/api/v1/auth/register", f"{home}::1", "POST").status_code == 422
    assert ask(url, "/api/v1/auth/login", f"{other}::1", "POST").status_code == 422


def test_requests_pass_while_redis_is_gone_and_are_limited_again_after(
    own_valkey: Valkey,
    own_stores: OwnStores,
    start_web: StartWeb,
    eventually: Callable[[Callable[[], object]], object],
) -> None:
    web = start_web(RATE_LIMIT_REQUESTS="2", AUTH_RATE_LIMIT="1/h", **own_stores.env)
    url = web.url
    address = f"{network()}::1"
    assert [ask(url, "/", address).status_code for _ in range(3)] == [200, 200, 429]
    own_valkey.kill()
    assert [ask(url, "/", address).status_code for _ in range(5)] == [200] * 5
    assert [ask(url, "/api/v1/auth/login", address, "POST").status_code for _ in range(3)] == [422] * 3
    assert "rate_limit_open" in web.log_text()
    own_valkey.start()
    eventually(lambda: ask(url, "/", address).status_code == 429)
