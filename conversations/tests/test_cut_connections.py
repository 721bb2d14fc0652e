"""Connections between a process and its stores that are cut, or carry nothing any more, while a reply is written."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from conftest import Api, Person
from conversations.tests.events import follow, text_of
from conversations.tests.test_faults import begin, ledger_attempts, statuses
from edgechat.local.stack import start_valkey
from edgechat.local.web import WebServer
from edgechat.tests.store_proxy import StoreProxy

pytestmark = pytest.mark.faults
StartWeb = Callable[..., WebServer]
Register = Callable[..., Person]
Eventually = Callable[..., Any]

STORES = ("DATABASE_URL", "MONGODB_URL", "REDIS_URL")
REPLY = "[[chunks=40]][[gap=0.1]]" + "word " * 40


@pytest.fixture
def proxies() -> Iterator[dict[str, StoreProxy]]:
    """A proxy in front of each store, by the name of its setting."""
    made = {name: StoreProxy(os.environ[name]) for name in STORES}
    yield made
    for proxy in made.values():
        proxy.close()


@pytest.fixture
def web(start_web: StartWeb, proxies: dict[str, StoreProxy]) -> WebServer:
    addresses = {name: proxy.url for name, proxy in proxies.items()}
    return start_web(workers=1, STORE_TIMEOUT_SECONDS="4.5", **addresses)


def test_connections_that_are_cut_in_mid_reply_are_opened_again(
    web: WebServer, proxies: dict[str, StoreProxy], register: Register, eventually: Eventually
) -> None:
    """Of each store by itself, and of all together."""
    alice = register("alice", web.url)
    for cut in (StoreProxy.cut, StoreProxy.swallow):
        for names in (*([name] for name in STORES), STORES):
            # The connections that nobody has used since the cut before fail once.
            conversation = eventually(
                lambda: alice.post("chat/conversations", json={"title": "Titled"}).json().get("id")
            )
            eventually(lambda: alice.say(conversation, "hello").status_code == 200)  # noqa: B023
            mid = begin(alice, web, conversation, REPLY)
            for name in names:
                cut(proxies[name])
            eventually(lambda: statuses(alice, {conversation: mid}) == ["complete"])  # noqa: B023
            assert alice.messages(conversation)["messages"][-1]["content"].count("word") == 40
            eventually(lambda: [each.settled_at is not None for each in ledger_attempts(mid)] == [True])  # noqa: B023
            eventually(lambda: alice.say(conversation, "and on").status_code == 200)  # noqa: B023


def test_a_slow_redis_delays_nobody_for_long(
    web: WebServer, proxies: dict[str, StoreProxy], register: Register, eventually: Eventually
) -> None:
    alice = register("alice", web.url)
    conversation = alice.new_conversation(title="Titled")
    proxies["REDIS_URL"].delay = 20.0
    mid = begin(alice, web, conversation, REPLY)
    for _ in range(5):
        assert alice.get("auth/me").status_code == 200
    eventually(lambda: statuses(alice, {conversation: mid}) == ["complete"])
    assert alice.say(conversation, "and on").status_code == 200
    assert "rate_limit_open" in web.log_text()


def test_a_redis_that_returns_empty_in_mid_reply_loses_nothing(
    start_web: StartWeb, register: Register, data_dir: Path, eventually: Eventually
) -> None:
    valkey = start_valkey(data_dir, durable=False)
    try:
        writer, reader = (start_web(workers=1, REDIS_URL=valkey.url) for _ in range(2))
        alice = register("alice", writer.url)
        conversation = alice.new_conversation(title="Titled")
        body = {"content": "first", "client_message_id": "key"}
        path = f"chat/conversations/{conversation}/messages"
        first = alice.post(path, json=body).json()
        mid = begin(alice, writer, conversation, REPLY)
        followed: list[Any] = []

        def follow_elsewhere() -> None:
            with Api(reader.url, token=alice.tokens["access_token"]) as elsewhere:
                followed.extend(follow(elsewhere, conversation, mid)[1])  # type: ignore[arg-type]

        follower = threading.Thread(target=follow_elsewhere)
        follower.start()
        valkey.kill()
        valkey.start()
        with redis.Redis.from_url(valkey.url) as client:
            client.flushall()
        assert alice.post(path, json=body).json() == first
        follower.join(120)
        final = alice.get(f"{path}/{mid}").json()
        assert (final["status"], final["content"].count("word")) == ("complete", 40)
        assert text_of(followed) == final["content"]
        assert followed[-1]["event"] == "done"
        assert len(ledger_attempts(mid)) == 1
        # Another reply is followed live again, piece by piece.
        mid = begin(alice, writer, conversation, REPLY)
        with Api(reader.url, token=alice.tokens["access_token"]) as elsewhere:
            events = follow(elsewhere, conversation, mid)[1]  # type: ignore[arg-type]
        assert text_of(events).count("word") == 40
        assert len([each for each in events if each.get("event") == "delta"]) > 5
        assert "reply_not_published" in writer.log_text()
        eventually(lambda: alice.get("health/ready").status_code == 200)
    finally:
        valkey.kill()
