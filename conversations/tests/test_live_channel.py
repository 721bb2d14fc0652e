"""No content of Redis prevents a process from following other processes' replies live."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Person
from conversations.tests.events import EVENT_STREAM, read_events, text_of
from edgechat.http import notices
from edgechat.stores.redis import redis_client
from edgechat.tests.web_settings import ELSEWHERE

# Longer than a follower needs to begin on a slow machine. The reply is stopped when it has been followed for a while.
TEXT = "[[chunks=600]][[gap=0.1]]" + "word " * 600
# From the stored message alone, which is saved ever more rarely, fewer pieces would arrive in the time of the reply.
PIECES = 12


def reply_key(mid: str) -> str:
    return f"edgechat:reply:{notices.SLOT}:{mid}"


@pytest.fixture
def elsewhere(web_with: Callable[..., str], alice: Person) -> Iterator[Person]:
    """Alice as a client of another web process with the same stores."""
    client = object.__new__(Person)
    super(Person, client).__init__(web_with(**ELSEWHERE), token=alice.tokens["access_token"])
    yield client
    client.close()


def followed(alice: Person, elsewhere: Person, spoil: Callable[[str], Any]) -> tuple[list[dict[str, Any]], str]:
    """The events of a reply at another process while `spoil` damages Redis, and the reply's text."""
    path = f"chat/conversations/{alice.new_conversation()}/messages"
    with alice.stream("POST", path, json={"content": TEXT}, headers=EVENT_STREAM) as answer:
        written = read_events(answer.iter_lines())
        opening = next(told for told in written if told.get("event") == "message")
        next(told for told in written if told.get("event") == "delta")
        mid = opening["data"]["model_message"]["id"]
        spoil(mid)
        with elsewhere.stream("GET", f"{path}/{mid}/stream") as follower:
            following = read_events(follower.iter_lines())
            events: list[dict[str, Any]] = []
            while sum(told.get("event") == "delta" for told in events) < PIECES:
                events.append(next(following))
            assert alice.post(f"{path}/{mid}/stop").json()["status"] == "stopped"
            events += following
        final = list(written)[-1]["data"]
    return events, final["content"]


def spoil_entry(mid: str) -> None:
    redis_client().xadd(reply_key(mid), {"pause": "x"})
    redis_client().xadd(reply_key(mid), {"a": "one", "o": "0", "t": "x"})
    redis_client().xadd(reply_key(mid), {"a": "1", "o": "0", "t": b"\xff"})


def spoil_notices(mid: str) -> None:
    for fields in ({"pause": "x"}, {"from": "x", "kind": "stop", "digests": "{"}, {"from": b"\xff", "kind": "stop"}):
        redis_client().xadd(notices.KEY, fields)  # type: ignore[arg-type]


def spoil_notices_key(mid: str) -> None:
    redis_client().set(notices.KEY, "x")


def spoil_foreign_reply(mid: str) -> None:
    """Give the key of a followed reply another type of value."""
    redis_client().set(reply_key(mid), "x")


@pytest.mark.parametrize(
    "spoil", [spoil_entry, spoil_notices, spoil_notices_key, spoil_foreign_reply], ids=lambda each: each.__name__
)
def test_a_reply_is_followed_live_whatever_stands_in_redis(
    alice: Person, elsewhere: Person, spoil: Callable[[str], Any]
) -> None:
    events, text = followed(alice, elsewhere, spoil)
    assert events[-1]["event"] == "done"
    assert text_of(events) == text
    events, text = followed(alice, elsewhere, lambda _: None)
    assert text_of(events) == text
    assert elsewhere.get("health/ready").status_code == 200
