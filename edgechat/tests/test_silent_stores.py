"""Stores that are slow, stopped or unreachable: requests that need them soon get a 503, and no other one waits."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2
import psycopg
import pytest
from django.db.models.functions import Now

from conftest import Api, Person, assert_error, at_once, new_address
from conversations.tests.living_process import living_process
from conversations.tests.test_faults import leave
from conversations.transcript_repository import find_conversation
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
        began = time.monotonic()
        assert_error(api.get("nothing"), 404, "not_found", "Not found")  # its token is read to count the request
        print(f"an unknown path with PostgreSQL silent: after {time.monotonic() - began:.1f} s")  # noqa: T201
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


def test_calls_of_each_kind_that_wait_for_slow_stores_again_and_again_end(
    start_web: Callable[..., WebServer], postgres: StoreProxy, mongo: StoreProxy, alice: Person
) -> None:
    web = start_web(workers=1, STORE_TIMEOUT_SECONDS="4.5", DATABASE_URL=postgres.url, MONGODB_URL=mongo.url)
    with at(web, alice) as api:
        api.timeout = 60
        conversation = api.post("chat/conversations", json={}).json()["id"]
        chat = f"chat/conversations/{conversation}"
        sent = api.post(f"{chat}/messages", json={"content": "hello"}).json()
        last = f"{chat}/messages/{sent['model_message']['id']}"
        known = {"email": alice.email, "password": alice.password}
        new = {"email": f"slow-{alice.id}@example.com", "password": alice.password}
        calls: list[tuple[str, str, Any]] = [
            ("POST", f"{chat}/messages", {"content": "again"}),
            ("POST", f"{chat}/messages?stream=true", {"content": "again"}),
            ("POST", f"{last}/regenerate", {}),
            ("POST", f"{last}/stop", None),
            ("GET", f"{last}/stream", None),
            ("GET", f"{chat}/messages", None),
            ("POST", "chat/conversations", {}),
            ("POST", f"{chat}/action-items", None),
            ("POST", "ai/complete", {"prompt": "hello"}),
            ("POST", "ai/complete?stream=true", {"prompt": "hello"}),
            ("POST", "ai/summarize", {"conversation_id": conversation}),
            ("POST", "ai/summarize?stream=true", {"text": "hello"}),
            ("POST", "auth/login", known),
            ("POST", "auth/login", {**known, "password": "not the password"}),
            ("POST", "auth/register", new),
            ("POST", "auth/refresh", {"refresh_token": alice.tokens["refresh_token"]}),
            ("PATCH", "users/me", {"password": "another good one", "current_password": alice.password}),
            ("GET", "users/me/export", None),
            ("GET", "nothing", None),
        ]
        postgres.delay = mongo.delay = 0.6

        def ask(number: int) -> tuple[float, httpx2.Response]:
            method, path, body = calls[number]
            began = time.monotonic()
            answer = api.request(method, path, json=body, headers=new_address())
            return time.monotonic() - began, answer

        for (method, path, _), (seconds, answer) in zip(calls, at_once(len(calls), ask), strict=True):
            print(f"with slow stores: {answer.status_code} after {seconds:.1f} s, {method} {path}")  # noqa: T201
            if answer.status_code == 503:
                assert answer.json()["code"] == "store_unavailable"
            else:
                assert answer.status_code in (200, 201, 401, 404, 409), answer.text


def is_free(person: Person, conversation: str) -> bool:
    """Whether no process claims the conversation for a reply."""
    stored = find_conversation(person.id, conversation)
    return stored is not None and stored["reply"] is None


def test_who_waits_for_a_reply_that_is_not_stored_is_answered_and_the_reply_comes_later(
    start_web: Callable[..., WebServer], mongo: StoreProxy, alice: Person, eventually: Callable[..., Any]
) -> None:
    web = start_web(workers=1, STORE_TIMEOUT_SECONDS="4.5", MONGODB_URL=mongo.url, AI_TIMEOUT_SECONDS="600")
    conversation = alice.new_conversation(title="Titled")
    path = f"chat/conversations/{conversation}/messages"
    body = {"content": "[[chunks=2]][[gap=3600]]some words", "client_message_id": "once"}
    with at(web, alice) as api, ThreadPoolExecutor(2) as pool:
        api.timeout = alice.timeout = 120
        waiting = pool.submit(api.post, path, json=body)
        eventually(lambda: len(alice.get(path).json()["messages"]) == 2)
        mongo.silent = True
        # Another process stores that the user wants the reply to end, which its own process cannot store.
        mid = alice.get(path).json()["messages"][1]["id"]
        stopping = pool.submit(alice.post, f"{path}/{mid}/stop")
        began = time.monotonic()
        answer = waiting.result()
        print(f"a send whose reply cannot be stored: 503 {time.monotonic() - began:.1f} s after its end")  # noqa: T201
        assert_error(answer, *AWAY, context=answer.json()["context"])
        assert [answer.json()["context"][key]["seq"] for key in ("user_message", "model_message")] == [1, 2]
        mongo.silent = False
        stopped = stopping.result().json()
    assert stopped["status"] == "stopped"
    again = alice.post(path, json=body)
    assert (again.status_code, again.json()["model_message"]) == (200, stopped)
    eventually(lambda: is_free(alice, conversation))
    # The same for a reply that another process has only claimed, and does not begin.
    body = {"content": "and on", "client_message_id": "twice"}
    body_hash = hashlib.sha256(json.dumps(["and on"]).encode()).hexdigest()
    with living_process() as worker, at(web, alice) as api:
        mid = leave(alice, conversation, "and on", worker=worker, key="twice", body_hash=body_hash)
        calls = ((path, body), (f"{path}?stream=true", body), (f"{path}/{mid}/stop", None))
        for answer in at_once(len(calls), lambda number: api.post(calls[number][0], json=calls[number][1])):
            print(f"a claimed reply that nobody writes: 503 after {answer.elapsed.total_seconds():.1f} s")  # noqa: T201
            assert_error(answer, *AWAY)
    eventually(lambda: alice.post(path, json=body).status_code == 200)


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
        login = {"email": alice.email, "password": alice.password}
        for method, path, body in (("PATCH", "users/me", {"full_name": "Alice"}), ("POST", "auth/login", login)):
            began = time.monotonic()
            assert_error(api.request(method, path, json=body, headers=new_address()), *AWAY)
            print(f"with the user's row locked: {method} {path} after {time.monotonic() - began:.1f} s")  # noqa: T201
        assert other.get("auth/me").status_code == 200  # PostgreSQL is up: no other request is answered that it is down
        holder.rollback()
        assert api.patch("users/me", json={"full_name": "Alice"}).status_code == 200
