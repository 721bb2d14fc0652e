"""Stores that are slow, stopped or unreachable: requests that need them soon get a 503, and no other one waits."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx2
import psycopg
import pytest
from django.db.models.functions import Now

from conftest import Api, Person, assert_error, at_once, new_address
from edgechat.local.web import WebServer
from edgechat.tests.store_proxy import StoreProxy
from usage.models import Process
from usage.processes import LEASE_SECONDS

pytestmark = pytest.mark.faults
AWAY = (503, "store_unavailable", "The service is temporarily unavailable, please try again")
MANY = 100


def stop(proxy: StoreProxy) -> None:
    """Like a stopped server, or a network that drops packets: connections stay open and carry nothing."""
    proxy.silent = True


def crawl(proxy: StoreProxy) -> None:
    proxy.delay = 20.0


def refuse(proxy: StoreProxy) -> None:
    proxy.close()


def mend(proxy: StoreProxy) -> None:
    proxy.silent, proxy.delay = False, 0.0


# In this order: a proxy that refuses stays closed.
SPOILS = (stop, crawl, refuse)


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
    """The answers to MANY simultaneous requests. The time of the slowest is printed, not asserted."""
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


def test_with_postgresql_silent_all_calls_are_answered(
    start_web: Callable[..., WebServer], postgres: StoreProxy, alice: Person, eventually: Callable[..., Any]
) -> None:
    web = start_web(workers=1, STORE_TIMEOUT_SECONDS="4.5", DATABASE_URL=postgres.url)
    with at(web, alice) as api:
        api.timeout = 30
        assert {answer.status_code for answer in many(api, "auth/me")} <= {200, 503}
        for spoil in SPOILS:
            eventually(lambda: api.get("auth/me", headers=new_address()).status_code == 200)
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
            mend(postgres)


def test_postgresql_is_used_again_once_it_answers(
    start_web: Callable[..., WebServer], postgres: StoreProxy, alice: Person, eventually: Callable[..., Any]
) -> None:
    web = start_web(workers=1, STORE_TIMEOUT_SECONDS="4.5", DATABASE_URL=postgres.url)
    with at(web, alice) as api:
        api.timeout = 30
        many(api, "auth/me")
        postgres.silent = True
        assert_error(api.get("auth/me"), *AWAY)
        postgres.silent = False
        eventually(lambda: api.get("auth/me", headers=new_address()).status_code == 200)
        # No request gets a connection that is in the middle of another request's statement.
        assert {answer.json().get("id") for answer in many(api, "auth/me")} == {alice.id}
        # A process whose connections are silently lost opens new ones, including the one that renews its row.
        [pid] = web.pids
        process = Process.objects.filter(name__contains=f":{pid}:", dead=False, alive_until__gt=Now()).get()
        postgres.swallow()
        eventually(lambda: api.get("auth/me", headers=new_address()).status_code == 200)
        later = process.alive_until + timedelta(seconds=2 * LEASE_SECONDS)
        eventually(lambda: Process.objects.get(pk=process.pk).alive_until > later)
        assert not Process.objects.get(pk=process.pk).dead


def test_with_mongodb_silent_all_calls_are_answered(
    start_web: Callable[..., WebServer], mongo: StoreProxy, alice: Person, eventually: Callable[..., Any]
) -> None:
    web = start_web(workers=1, STORE_TIMEOUT_SECONDS="4.5", MONGODB_URL=mongo.url)
    path = f"chat/conversations/{alice.new_conversation()}"
    with at(web, alice) as api:
        api.timeout = 30
        for spoil in SPOILS:
            eventually(lambda: api.get(path, headers=new_address()).status_code == 200)
            spoil(mongo)
            for answer in many(api, path):
                assert_error(answer, *AWAY)
            assert api.get("auth/me").status_code == 200
            ready = api.get("health/ready")
            assert (ready.status_code, ready.json()["checks"]["mongo"]) == (503, "error")
            mend(mongo)


def test_calls_that_wait_for_slow_stores_again_and_again_end(
    start_web: Callable[..., WebServer], postgres: StoreProxy, mongo: StoreProxy, alice: Person
) -> None:
    web = start_web(workers=1, STORE_TIMEOUT_SECONDS="4.5", DATABASE_URL=postgres.url, MONGODB_URL=mongo.url)
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
        new = {"email": "new@example.com", "password": "long enough for anybody"}
        known = {"email": bob.email, "password": bob.password}
        conversation = alice.new_conversation(title="Titled")
        model_message = alice.say(conversation, "hello").json()["model_message"]["id"]
        chat = f"chat/conversations/{conversation}"
        organization = alice.post("organizations", json={"name": "Ours"}).json()["id"]
        todo = alice.post("todos", json={"title": "Buy bread"}).json()["id"]
        for method, path, body in (
            ("POST", "auth/register", new),
            ("POST", "auth/signup", new),
            ("POST", "users/register", new),
            ("POST", "auth/login", known),
            ("POST", "auth/signin", known),
            ("POST", "users/login", known),
            ("POST", "auth/refresh", {"refresh_token": bob.tokens["refresh_token"]}),
            ("POST", "auth/logout", None),
            ("POST", "auth/logout-all", None),
            ("PATCH", "users/me", {"full_name": "Alice"}),
            ("PATCH", "users/me", {"password": "another good one", "current_password": alice.password}),
            ("DELETE", "users/me", None),
            ("POST", "organizations", {"name": "Mine"}),
            ("PATCH", f"organizations/{organization}", {"name": "Mine"}),
            ("DELETE", f"organizations/{organization}", None),
            ("POST", f"organizations/{organization}/members", {"email": bob.email, "role": "member"}),
            ("POST", f"{chat}/messages", {"content": "hello"}),
            ("POST", f"{chat}/messages?stream=true", {"content": "hello"}),
            ("POST", f"{chat}/messages/{model_message}/regenerate", {}),
            ("POST", f"{chat}/action-items", None),
            ("POST", "todos", {"title": "Buy milk"}),
            ("PATCH", f"todos/{todo}", {"completed": True}),
            ("POST", "ai/complete", {"prompt": "hello"}),
            ("POST", "ai/complete?stream=true", {"prompt": "hello"}),
            ("POST", "ai/summarize", {"text": "hello"}),
            ("POST", "ai/summarize", {"conversation_id": conversation}),
        ):
            answer = api.request(method, path, json=body, headers=new_address())
            assert (method, path, answer.status_code, answer.json().get("code")) == (method, path, *AWAY[:2])
        for method, path, body, status in (
            ("GET", "usage/me", None, 200),
            ("GET", f"{chat}/messages", None, 200),
            ("POST", "chat/conversations", {}, 201),
            ("PATCH", chat, {"title": "Changed"}, 200),
            ("PUT", f"{chat}/messages/{model_message}/feedback", {"rating": "up"}, 200),
            ("POST", "auth/password/forgot", {"email": bob.email}, 202),
            ("DELETE", chat, None, 204),
        ):
            assert api.request(method, path, json=body, headers=new_address()).status_code == status


def test_a_statement_that_waits_for_a_lock_ends_and_others_go_on(
    start_web: Callable[..., WebServer], alice: Person, bob: Person
) -> None:
    web = start_web(workers=1, STORE_TIMEOUT_SECONDS="4.5")
    with psycopg.connect(os.environ["DATABASE_URL"]) as holder, at(web, alice) as api, at(web, bob) as other:
        holder.execute("SELECT FROM accounts_user WHERE id = %s FOR UPDATE", [alice.id])
        assert_error(api.patch("users/me", json={"full_name": "Alice"}), *AWAY)
        assert other.get("auth/me").status_code == 200  # PostgreSQL is up: no other request is answered that it is down
        holder.rollback()
        assert api.patch("users/me", json={"full_name": "Alice"}).status_code == 200
