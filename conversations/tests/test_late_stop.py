"""A late stop request stops only the attempt that it was meant for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bson import ObjectId

from conftest import Person
from conversations import transcript_repository as transcripts
from conversations.replies.stop import request_stop
from conversations.tests.living_process import living_process
from conversations.transcript_repository.collections import conversations
from edgechat.tests.web_settings import WITHOUT_REDIS

Eventually = Callable[..., Any]
SLOW = "[[chunks=20]][[gap=0.1]]" + "word " * 20
# These are stopped. They take longer than a slow machine needs to do so.
ENDLESS = "[[chunks=120]][[gap=1]]" + "word " * 120


def is_running(person: Person, conversation: str, attempt: int) -> bool:
    found = transcripts.find_conversation(person.id, conversation)
    return bool(found and found["reply"] and found["reply"]["attempt"] == attempt)


def tell_stop(person: Person, conversation: str, attempt: int) -> int | None:
    """Request a stop as `conversations.replies.stop` does, from another process."""
    mid = f"{conversation}:00000002"
    marked = transcripts.request_stop(person.id, conversation, mid=mid, attempt=attempt)
    request_stop(mid, attempt)
    return marked


@pytest.mark.parametrize("settings", [{}, WITHOUT_REDIS], ids=["with Redis", "without Redis"])
def test_a_stop_of_an_attempt_does_not_stop_the_next(
    web_with: Callable[..., str], register: Callable[..., Person], eventually: Eventually, settings: dict[str, str]
) -> None:
    alice = register("alice", web_with(**settings))
    conversation = alice.new_conversation(title="Titled")
    mid = f"{conversation}:00000002"
    path = f"chat/conversations/{conversation}/messages/{mid}"
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(alice.say, conversation, ENDLESS)
        eventually(lambda: alice.get(path).status_code == 200)
        assert alice.post(f"{path}/stop").json()["status"] == "stopped"
        assert sending.result().json()["model_message"]["status"] == "stopped"

        for late in range(2):
            again = pool.submit(alice.post, f"{path}/regenerate", json={"content": SLOW})
            # A slow machine may see the reply only when it has ended, and stops nothing then.
            eventually(lambda: is_running(alice, conversation, 2 + late) or again.done())  # noqa: B023  (called at once)
            assert tell_stop(alice, conversation, 1 + late) is None
            message = again.result().json()["model_message"]
            assert (message["status"], message["content"].count("word")) == ("complete", 20)

        once_more = pool.submit(alice.post, f"{path}/regenerate", json={"content": ENDLESS})
        eventually(lambda: is_running(alice, conversation, 4))
        assert tell_stop(alice, conversation, 4) == 4
        assert once_more.result().json()["model_message"]["status"] == "stopped"


def test_a_stop_is_for_the_attempt_that_took_the_place_of_a_dead_process_too() -> None:
    conversation = str(ObjectId())
    mid = f"{conversation}:00000002"
    with living_process() as worker:
        reply = {"message_id": mid, "attempt": 3, "first_attempt": 2, "stop_requested": False, "worker": worker}
        # No user has this owner id.
        conversations().insert_one({"_id": conversation, "owner_id": -1, "reply": reply, "change": 1})
        assert transcripts.request_stop(-1, conversation, mid=mid, attempt=1) is None
        assert transcripts.request_stop(-1, conversation, mid=mid, attempt=4) is None
        assert transcripts.find_stop_requests(worker=worker) == set()
        assert transcripts.request_stop(-1, conversation, mid=mid, attempt=2) == 3
        assert transcripts.find_stop_requests(worker=worker) == {(mid, 3)}
        conversations().delete_one({"_id": conversation})
