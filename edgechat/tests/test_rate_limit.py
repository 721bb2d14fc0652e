"""Requests per address: the window, its exceptions, the stricter limits, and Redis away."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Api, Person, assert_error, at_once
from edgechat.local.stack import start_valkey
from edgechat.local.valkey import Valkey
from edgechat.local.web import WebServer
from edgechat.redis import redis_client


def counter_key(api: Api) -> str:
    return f"edgechat:limit:{api.headers['X-Forwarded-For']}"


def test_the_hundred_and_first_request_of_a_minute_is_429(anonymous: Api) -> None:
    assert [anonymous.get("auth/me").status_code for _ in range(100)] == [401] * 100
    answer = anonymous.get("auth/me")
    assert_error(answer, 429, "rate_limited", "Too many requests")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_the_window_ends_when_retry_after_says(
    anonymous: Api, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    anonymous.get("auth/me")
    redis_client().set(counter_key(anonymous), 100, px=7_400)
    for _ in range(3):
        answer = anonymous.get("nothing")
        assert_error(answer, 429, "rate_limited", "Too many requests")
        assert answer.headers["Retry-After"] in ("8", "7")
    redis_client().pexpire(counter_key(anonymous), 1)
    eventually(lambda: not redis_client().exists(counter_key(anonymous)))
    assert anonymous.get("auth/me").status_code == 401
    assert redis_client().get(counter_key(anonymous)) == b"1"


def test_a_counter_without_an_end_gets_one_back(anonymous: Api) -> None:
    redis_client().set(counter_key(anonymous), 1_000)
    assert anonymous.get("auth/me").headers["Retry-After"] == "60"
    assert 0 < redis_client().pttl(counter_key(anonymous)) <= 60_000


def test_addresses_do_not_share_a_limit(anonymous: Api, alice: Person) -> None:
    redis_client().set(counter_key(anonymous), 100, ex=60)
    assert anonymous.get("auth/me").status_code == 429
    assert alice.get("auth/me").status_code == 200


def test_a_spoofed_entry_does_not_help(anonymous: Api) -> None:
    redis_client().set(counter_key(anonymous), 100, ex=60)
    header = f"{uuid.uuid4()}, 198.51.100.7, {anonymous.headers['X-Forwarded-For']}"
    assert anonymous.get("auth/me", headers={"X-Forwarded-For": header}).status_code == 429


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/health",
        "/api/v1/health/",
        "/api/v1/health/ready",
        "/api/v1/health/db",
        "/api/health",
        "/health",
        "/health/",
    ],
)
def test_health_is_neither_counted_nor_refused(anonymous: Api, path: str) -> None:
    redis_client().set(counter_key(anonymous), 1_000, ex=60)
    assert anonymous.get(anonymous.origin + path).status_code == 200
    assert redis_client().get(counter_key(anonymous)) == b"1000"


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/healthy", "/api/v1/healthcare", "/api/healthy", "/metricsx", "/docs"]
)
def test_every_other_path_is_counted(anonymous: Api, path: str) -> None:
    redis_client().set(counter_key(anonymous), 100, ex=60)
    assert_error(anonymous.get(anonymous.origin + path), 429, "rate_limited", "Too many requests")


def test_requests_at_the_same_instant_are_counted_each(anonymous: Api) -> None:
    redis_client().set(counter_key(anonymous), 90, ex=60)
    statuses = at_once(20, lambda _: anonymous.get("auth/me").status_code)
    assert sorted(statuses) == [401] * 10 + [429] * 10


def test_the_calls_that_prove_an_identity_have_a_stricter_limit_each(start_web: Callable[..., WebServer]) -> None:
    # A day's window, for one of a minute may end in the middle of the test.
    web = start_web(AUTH_RATE_LIMIT="3/d")
    with Api(web.url) as api, Api(web.url) as elsewhere:
        for path in ("auth/login", "auth/register", "auth/refresh"):
            assert [api.post(path).status_code for _ in range(3)] == [422] * 3
            answer = api.post(path)
            assert_error(answer, 429, "rate_limited", "Too many requests")
            assert 1 <= int(answer.headers["Retry-After"]) <= 24 * 3600
            assert elsewhere.post(path).status_code == 422
        assert api.get("auth/me").status_code == 401


@pytest.fixture
def valkey(data_dir: Path) -> Iterator[Valkey]:
    server = start_valkey(data_dir, durable=False)
    yield server
    server.kill()


@pytest.mark.faults
def test_with_redis_gone_requests_pass_and_limits_return_with_it(
    start_web: Callable[..., WebServer],
    register: Callable[..., Person],
    valkey: Valkey,
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    web = start_web(REDIS_URL=valkey.url, RATE_LIMIT_REQUESTS="5", AUTH_RATE_LIMIT="2/d")
    with Api(web.url) as api:
        assert [api.get("auth/me").status_code for _ in range(6)] == [401] * 5 + [429]
    valkey.kill()
    with Api(web.url) as api:
        assert {api.get("auth/me").status_code for _ in range(20)} == {401}
        assert {api.post("auth/login").status_code for _ in range(5)} == {422}
        ready = api.get("health/ready")
        checks = {"database": "connected", "mongo": "connected", "redis": "error"}
        assert (ready.status_code, ready.json()) == (503, {"status": "not ready", "checks": checks})
        answer = api.get("health/redis")
        assert (answer.status_code, answer.json()) == (503, {"status": "error", "redis": "error"})
    person = register("alice", web.url)
    conversation = person.new_conversation()
    assert person.say(conversation, "hello").json()["model_message"]["content"] == "Echo: hello"
    assert person.post("ai/complete", json={"prompt": "hello"}).json()["text"] == "Echo: hello"
    assert person.post("auth/refresh", json={"refresh_token": person.tokens["refresh_token"]}).status_code == 200
    assert person.get("usage/me").status_code == 200
    assert "rate_limit_open" in web.log_text()
    valkey.start()
    with Api(web.url) as api:
        eventually(lambda: api.get("health/redis").status_code == 200)
        assert [api.get("auth/me").status_code for _ in range(6)] == [401] * 5 + [429]
