"""Connections between a process and its stores that are cut, or carry nothing any more, while a reply is written."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from conftest import Api, Person, at_once
from conversations.tests.events import follow, text_of
from conversations.tests.test_faults import begin, ledger_attempts, statuses
from edgechat.local.valkey import Valkey
from edgechat.local.web import WebServer
from edgechat.tests.own_stores import OwnStores
from edgechat.tests.store_proxy import StoreProxy

pytestmark = pytest.mark.faults
StartWeb = Callable[..., WebServer]
Register = Callable[..., Person]
Eventually = Callable[..., Any]

STORES = ("DATABASE_URL", "MONGODB_URL", "REDIS_URL")
REPLY = "[[chunks=20]][[gap=0.1]]" + "word " * 20


@dataclass
class Site:
    """A web process, with a proxy in front of each store, by the name of its setting."""

    proxies: dict[str, StoreProxy]
    web: WebServer


@pytest.fixture(scope="module")
def site(shared_servers: None) -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="edgechat-test-"))
    proxies = {name: StoreProxy(os.environ[name]) for name in STORES}
    env = {name: proxy.url for name, proxy in proxies.items()} | {"STORE_TIMEOUT_SECONDS": "4.5"}
    web = WebServer(env, data_dir=folder, workers=1, ready_path="/api/v1/health")
    try:
        web.start()
        yield Site(proxies, web)
    finally:
        web.kill()
        for proxy in proxies.values():
            proxy.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_connections_that_are_cut_in_mid_reply_are_opened_again(
    site: Site, register: Register, eventually: Eventually
) -> None:
    """Of each store by itself, and of all together."""
    alice = register("alice", site.web.url)
    for cut in (StoreProxy.cut, StoreProxy.swallow):
        for names in (*([name] for name in STORES), STORES):
            conversation = alice.new_conversation(title="Titled")
            mid = begin(alice, site.web, conversation, REPLY)
            for name in names:
                cut(site.proxies[name])
            eventually(lambda: all_are_answered(alice))
            eventually(lambda: statuses(alice, {conversation: mid}) == ["complete"])  # noqa: B023
            assert alice.messages(conversation)["messages"][1]["content"].count("word") == 20
            eventually(lambda: [each.settled_at is not None for each in ledger_attempts(mid)] == [True])  # noqa: B023
            assert alice.say(conversation, "and on").status_code == 200


def all_are_answered(person: Person) -> bool:
    """Many at once, because each connection that nobody has used since it was cut fails once."""
    answers = at_once(30, lambda _: person.get("chat/conversations"))
    return {answer.status_code for answer in answers} == {200}


def test_a_slow_redis_delays_nobody_for_long(site: Site, register: Register, eventually: Eventually) -> None:
    alice = register("alice", site.web.url)
    conversation = alice.new_conversation(title="Titled")
    site.proxies["REDIS_URL"].delay = 20.0
    mid = begin(alice, site.web, conversation, REPLY)
    for _ in range(5):
        assert alice.get("auth/me").status_code == 200
    eventually(lambda: statuses(alice, {conversation: mid}) == ["complete"])
    assert alice.say(conversation, "and on").status_code == 200
    assert "rate_limit_open" in site.web.log_text()
    site.proxies["REDIS_URL"].delay = 0.0


def test_a_redis_that_returns_empty_in_mid_reply_loses_nothing(
    own_valkey: Valkey, own_stores: OwnStores, start_web: StartWeb, register: Register, eventually: Eventually
) -> None:
    writer, reader = (start_web(workers=1, **own_stores.env) for _ in range(2))
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
    own_valkey.kill()
    own_valkey.start()
    with redis.Redis.from_url(own_valkey.url) as client:
        client.flushall()
    assert alice.post(path, json=body).json() == first
    follower.join(120)
    final = alice.get(f"{path}/{mid}").json()
    assert (final["status"], final["content"].count("word")) == ("complete", 20)
    assert text_of(followed) == final["content"]
    assert followed[-1]["event"] == "done"
    assert len(ledger_attempts(mid)) == 1
    # Another reply is followed live again, piece by piece.
    mid = begin(alice, writer, conversation, REPLY)
    with Api(reader.url, token=alice.tokens["access_token"]) as elsewhere:
        events = follow(elsewhere, conversation, mid)[1]  # type: ignore[arg-type]
    assert text_of(events).count("word") == 20
    assert len([each for each in events if each.get("event") == "delta"]) > 5
    eventually(lambda: alice.get("health/ready").status_code == 200)
