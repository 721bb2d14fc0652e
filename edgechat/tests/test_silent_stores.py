"""Stores that are slow, stopped or unreachable: who needs them is told so soon, and nobody else waits."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import psycopg
import pytest

from conftest import Api, Person, assert_error, at_once, new_address
from edgechat.local.web import WebServer
from edgechat.tests.store_proxy import StoreProxy

pytestmark = pytest.mark.faults
AWAY = (503, "store_unavailable", "The service is temporarily unavailable, please try again")
MANY = 100
Spoil = Callable[[StoreProxy], None]


def stop(proxy: StoreProxy) -> None:
    """As a server that is stopped, or whose network drops everything: connections stay, and bring nothing."""
    proxy.silent = True


def crawl(proxy: StoreProxy) -> None:
    proxy.delay = 20.0


def refuse(proxy: StoreProxy) -> None:
    proxy.close()


@pytest.fixture
def postgres() -> Iterator[StoreProxy]:
    proxy = StoreProxy(os.environ["DATABASE_URL"])
    yield proxy
    proxy.silent = False
    proxy.close()


@pytest.fixture
def mongo() -> Iterator[StoreProxy]:
    proxy = StoreProxy(os.environ["MONGODB_URL"])
    yield proxy
    proxy.silent = False
    proxy.close()


def at(web: WebServer, person: Person) -> Api:
    return Api(web.url, token=person.tokens["access_token"])


def many(api: Api, path: str) -> list[httpx2.Response]:
    """The answers to MANY requests at once. How long the slowest took is printed, not asserted."""
    began = time.monotonic()
    taken: list[float] = []

    def ask(_: int) -> httpx2.Response:
        answer = api.get(path, headers=new_address())
        taken.append(time.monotonic() - began)
        return answer

    answers = at_once(MANY, ask)
    counted = dict(Counter(answer.status_code for answer in answers))
    print(f"{MANY} × GET {path}: {counted}, the slowest after {max(taken):.1f} s")  # noqa: T201
    return answers


@pytest.mark.parametrize("spoil", [stop, crawl, refuse], ids=lambda each: each.__name__)
def test_with_postgresql_silent_all_calls_are_answered(
    start_web: Callable[..., WebServer], postgres: StoreProxy, alice: Person, spoil: Spoil
) -> None:
    web = start_web(workers=1, DATABASE_URL=postgres.url)
    with at(web, alice) as api:
        api.timeout = 30
        assert {answer.status_code for answer in many(api, "auth/me")} <= {200, 503}
        assert api.get("auth/me").status_code == 200
        spoil(postgres)
        for path in ("auth/me", "chat/conversations"):
            for answer in many(api, path):
                assert_error(answer, *AWAY)
                assert answer.headers["Retry-After"] == "1"
        ready = api.get("health/ready")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "error")
        assert api.get("health").status_code == 200
        assert api.get("health/mongo").status_code == 200
        assert_error(api.get("nothing"), 404, "not_found", "Not found")


def test_postgresql_is_used_again_once_it_answers(
    start_web: Callable[..., WebServer], postgres: StoreProxy, alice: Person, eventually: Callable[..., Any]
) -> None:
    web = start_web(workers=1, DATABASE_URL=postgres.url)
    with at(web, alice) as api:
        api.timeout = 30
        many(api, "auth/me")
        postgres.silent = True
        assert_error(api.get("auth/me"), *AWAY)
        postgres.silent = False
        eventually(lambda: api.get("auth/me", headers=new_address()).status_code == 200)
        # Nobody gets a connection that is in the midst of somebody else's statement.
        assert {answer.json().get("id") for answer in many(api, "auth/me")} == {alice.id}


@pytest.mark.parametrize("spoil", [stop, crawl, refuse], ids=lambda each: each.__name__)
def test_with_mongodb_silent_all_calls_are_answered(
    start_web: Callable[..., WebServer],
    mongo: StoreProxy,
    alice: Person,
    spoil: Spoil,
    eventually: Callable[..., Any],
) -> None:
    web = start_web(workers=1, MONGODB_URL=mongo.url)
    conversation = alice.new_conversation()
    with at(web, alice) as api:
        api.timeout = 30
        assert api.get(f"chat/conversations/{conversation}").status_code == 200
        spoil(mongo)
        for answer in many(api, f"chat/conversations/{conversation}"):
            assert_error(answer, *AWAY)
        assert api.get("auth/me").status_code == 200
        ready = api.get("health/ready")
        assert (ready.status_code, ready.json()["checks"]["mongo"]) == (503, "error")
        if spoil is stop:
            mongo.silent = False
            eventually(lambda: api.get(f"chat/conversations/{conversation}", headers=new_address()).status_code == 200)


def test_calls_that_wait_for_slow_stores_again_and_again_end(
    start_web: Callable[..., WebServer], postgres: StoreProxy, mongo: StoreProxy, alice: Person
) -> None:
    web = start_web(workers=1, DATABASE_URL=postgres.url, MONGODB_URL=mongo.url)
    with at(web, alice) as api:
        api.timeout = 30
        conversation = api.post("chat/conversations", json={}).json()["id"]
        postgres.delay = mongo.delay = 1.2
        began = time.monotonic()
        answer = api.post(f"chat/conversations/{conversation}/messages", json={"content": "hello"})
        print(f"a message with slow stores: {answer.status_code} after {time.monotonic() - began:.1f} s")  # noqa: T201
        assert_error(answer, *AWAY)


def test_a_read_only_postgresql_is_unavailable_for_what_writes(
    start_web: Callable[..., WebServer], alice: Person, bob: Person
) -> None:
    separator = "&" if "?" in os.environ["DATABASE_URL"] else "?"
    web = start_web(
        workers=1,
        DATABASE_URL=f"{os.environ['DATABASE_URL']}{separator}options=-c%20default_transaction_read_only=on",
    )
    with at(web, alice) as api:
        assert api.get("auth/me").json()["id"] == alice.id
        for method, path, body in (
            ("POST", "auth/register", {"email": "new@example.com", "password": "long enough for anybody"}),
            ("POST", "auth/login", {"email": bob.email, "password": bob.password}),
            ("PATCH", "users/me", {"full_name": "Alice"}),
            ("POST", "ai/complete", {"prompt": "hello"}),
            ("POST", "ai/complete?stream=true", {"prompt": "hello"}),
        ):
            answer = api.request(method, path, json=body, headers=new_address())
            assert_error(answer, *AWAY)


def test_a_statement_that_waits_for_a_lock_ends_and_others_go_on(
    start_web: Callable[..., WebServer], alice: Person, bob: Person
) -> None:
    web = start_web(workers=1)
    with psycopg.connect(os.environ["DATABASE_URL"]) as holder, at(web, alice) as api, at(web, bob) as other:
        holder.execute("SELECT FROM accounts_user WHERE id = %s FOR UPDATE", [alice.id])
        assert_error(api.patch("users/me", json={"full_name": "Alice"}), *AWAY)
        assert other.get("auth/me").status_code == 200  # PostgreSQL lives: nobody else is told that it does not
        holder.rollback()
        assert api.patch("users/me", json={"full_name": "Alice"}).status_code == 200
