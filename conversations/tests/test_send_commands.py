"""How often sends, regenerations and pages ask each store, counted by proxies before the stores."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from conftest import Person
from edgechat.local.web import WebServer
from edgechat.tests.store_proxy import StoreProxy

ROUNDS = 8

Proxies = dict[str, StoreProxy]


@pytest.fixture
def proxies(shared_servers: None) -> Iterator[Proxies]:
    proxies = {name: StoreProxy(os.environ[name]) for name in ("MONGODB_URL", "DATABASE_URL", "REDIS_URL")}
    yield proxies
    for proxy in proxies.values():
        proxy.close()


def mongo_commands(pieces: list[bytes], conversation: str) -> Counter[str]:
    """The commands that name the conversation."""
    # An OP_MSG has a header of 16 bytes, 4 bytes of flags and one for the kind. Its document starts with its length and
    # the type of the command's field.
    named = [piece for piece in pieces if conversation.encode() in piece and piece[12:16] == b"\xdd\x07\0\0"]
    return Counter(piece[26 : piece.index(b"\0", 26)].decode() for piece in named)


def statements(pieces: list[bytes], *ids: bytes) -> int:
    """The statements that name one of these ids."""
    return sum(any(each in piece for each in ids) for piece in pieces)


def round_trips(pieces: list[bytes]) -> int:
    """Redis commands and pipelines that wait for an answer, without those of the threads for all requests."""
    of_all = (b"edgechat:usage:", b"edgechat:reply:", b"edgechat:replies:", b"XREAD", b"CLIENT", b"HELLO", b"PING")
    return sum(not any(name in piece for name in of_all) for piece in pieces)


def test_sends_and_regenerations_ask_mongodb_5_times_and_a_page_2_times_and_postgresql_and_redis_3_times(
    proxies: Proxies, start_web: Callable[..., WebServer], register: Callable[..., Person]
) -> None:
    web = start_web(**{name: proxy.url for name, proxy in proxies.items()})
    alice = register("alice", web.url)
    conversation = alice.new_conversation(title="Titled")
    [session] = [each["id"] for each in alice.get("auth/sessions").json()["sessions"]]
    # A prepared statement gets the id as bytes.
    ids_in_sql = (conversation.encode(), session.encode(), session.replace("-", "").encode(), UUID(session).bytes)
    path = f"chat/conversations/{conversation}/messages"

    def assert_counts(call: Callable[[int], str]) -> None:
        call(0)  # a first call to the model makes more statements, and opens connections
        mongo, postgres, redis = [], [], []
        for number in range(1, ROUNDS + 1):
            for proxy in proxies.values():
                proxy.sent.clear()
            call(number)
            mongo.append(mongo_commands(proxies["MONGODB_URL"].sent[:], conversation))
            # MongoDB's stand-in answers a filter with an `$or` by reading the whole collection.
            assert not any(b"$or" in piece for piece in proxies["MONGODB_URL"].sent if conversation.encode() in piece)
            postgres.append(statements(proxies["DATABASE_URL"].sent[:], *ids_in_sql))
            redis.append(round_trips(proxies["REDIS_URL"].sent[:]))
        # Periodic tasks may add to the figures of some calls.
        assert min(mongo, key=Counter.total) == {"aggregate": 1, "update": 4}
        assert min(postgres) == 3
        assert min(redis) <= 3

    def send(number: int) -> str:
        answer = alice.say(conversation, "Hello")
        assert answer.status_code == 200, answer.text
        mid: str = answer.json()["model_message"]["id"]
        return mid

    def send_with_a_key(number: int) -> str:
        answer = alice.say(conversation, "Hello", client_message_id=f"key {number}")
        assert answer.status_code == 200, answer.text
        return ""

    assert_counts(send)
    assert_counts(send_with_a_key)
    last = send(0)

    def regenerate(number: int) -> str:
        answer = alice.post(f"{path}/{last}/regenerate", json={"content": f"Hello {number}"})
        assert answer.status_code == 200, answer.text
        return ""

    assert_counts(regenerate)
    pages = []
    for _ in range(ROUNDS):
        proxies["MONGODB_URL"].sent.clear()
        assert len(alice.messages(conversation)["messages"]) > 2 * ROUNDS
        pages.append(mongo_commands(proxies["MONGODB_URL"].sent[:], conversation))
    assert min(pages, key=Counter.total) == {"find": 2}
    messages = alice.messages(conversation, latest=True, limit=2)["messages"]
    assert [message["content"] for message in messages] == [f"Hello {ROUNDS}", f"Echo: Hello {ROUNDS}"]
    assert messages[0]["seq"] == 2 * (2 * (ROUNDS + 1) + 1) - 1
