"""Transcripts that changed while they were copied are made consistent when they are restored."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from django.conf import settings
from django.test import override_settings

from conversations.replies.start import new_ledger_id
from conversations.transcript_repository import RestoredTranscripts, copy_everything, ensure_indexes, filled_collections
from conversations.transcript_repository.change_numbers import unnumbered_change
from conversations.transcript_repository.copies import CHANGE_GAP
from edgechat.stores.mongo import database

pytestmark = pytest.mark.usefixtures("shared_servers", "own_transcripts")
A, B, C = "a" * 24, "b" * 24, "c" * 24


@pytest.fixture
def own_transcripts() -> Iterator[None]:
    """An empty database of transcripts."""
    with override_settings(MONGODB_DB=f"copies_{uuid.uuid4().hex}"):
        ensure_indexes()
        yield
        database().client.drop_database(settings.MONGODB_DB)


def conversation(key: str, *, messages: int, reply: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"_id": key, "owner_id": 7, "next_seq": messages + 1, "reply": reply, "change": 5, **fields}


def message(key: str, seq: int, *, status: str = "complete", attempt: int = 1) -> dict[str, Any]:
    ids = {"_id": f"{key}:{seq:08d}", "conversation_id": key, "owner_id": 7, "seq": seq}
    return {**ids, "status": status, "attempt": attempt, "content": f"{key[0]}{seq}"}


def restore(*batches: tuple[str, list[dict[str, Any]]]) -> RestoredTranscripts:
    restored = RestoredTranscripts()
    for collection, documents in batches:
        restored.write(collection, [bson.encode(document) for document in documents])
    return restored


def stored(collection: str) -> dict[Any, dict[str, Any]]:
    return {document["_id"]: document for document in database()[collection].find()}


def test_what_is_copied_is_restored() -> None:
    reply = {"message_id": f"{A}:00000002", "attempt": 1}
    running = [message(A, 1), message(A, 2, status="generating")]
    written = restore(
        ("conversations", [conversation(A, messages=2, reply=reply), conversation(B, messages=1)]),
        ("messages", [*running, message(B, 1)]),
        ("tombstones", [{"_id": C, "owner_id": 7, "change": 4}]),
        ("owners", [{"_id": 7, "change": 5}]),
    )
    assert written.dropped == 0
    copied = list(copy_everything())
    assert [name for name, _ in copied] == [*["conversations"] * 2, *["messages"] * 3, "tombstones", "owners"]
    assert {bson.decode(document)["_id"] for _, document in copied} == {
        *(A, B, C, 7),
        *(f"{A}:00000001", f"{A}:00000002", f"{B}:00000001"),
    }
    assert stored("messages")[f"{A}:00000002"] == running[1], "its process is dead, and another one takes it over"
    assert filled_collections() == ["conversations", "messages", "tombstones", "owners"]


def test_messages_that_came_after_their_conversation_are_left_out() -> None:
    """The next message would have the same number, and would be taken for one that is stored already."""
    written = restore(
        ("conversations", [conversation(A, messages=2), conversation(B, messages=0)]),
        ("messages", [message(A, seq) for seq in (1, 2, 3)]),
        ("messages", [message(A, 4), message(B, 1)]),
    )
    assert (list(stored("messages")), written.dropped) == ([f"{A}:00000001", f"{A}:00000002"], 3)


@pytest.mark.parametrize(
    "reply",
    [None, {"message_id": f"{A}:00000002", "attempt": 1}, {"message_id": f"{A}:00000004", "attempt": 2}],
)
def test_an_answer_that_no_process_would_end_is_interrupted(reply: dict[str, Any] | None) -> None:
    restore(
        ("conversations", [conversation(A, messages=2, reply=reply)]),
        ("messages", [message(A, 1), message(A, 2, status="generating", attempt=2)]),
    )
    assert [(each["status"], each["content"]) for each in stored("messages").values()] == [
        ("complete", "a1"),
        ("interrupted", "a2"),
    ]


def test_a_conversation_that_was_deleted_after_it_was_read_goes() -> None:
    restore(
        ("conversations", [conversation(A, messages=1), conversation(B, messages=3)]),
        ("messages", [message(A, 1), message(B, 1)]),
        ("tombstones", [{"_id": B, "owner_id": 7, "change": 9, "purged": True}]),
    )
    assert (list(stored("conversations")), list(stored("messages"))) == ([A], [f"{A}:00000001"])


def test_devices_are_told_everything_again_because_they_may_know_numbers_from_after_the_copy() -> None:
    recent = unnumbered_change()
    restore(
        ("conversations", [conversation(A, messages=0), conversation(B, messages=0, change=recent)]),
        ("conversations", [{**conversation(C, messages=0), "owner_id": 8, "change": recent}]),
        ("tombstones", [{"_id": "d" * 24, "owner_id": 7, "change": 4}]),
        ("owners", [{"_id": 7, "change": 6}]),
    )
    assert {key: each["change"] for key, each in stored("conversations").items()} == {
        A: 5 + CHANGE_GAP,
        B: recent,
        C: recent,
    }
    assert [each["change"] for each in stored("tombstones").values()] == [4 + CHANGE_GAP]
    assert {key: each["change"] for key, each in stored("owners").items()} == {7: 6 + CHANGE_GAP, 8: CHANGE_GAP}


def test_the_next_reply_has_another_id_in_the_ledger_than_one_that_began_after_the_copy() -> None:
    before = [conversation(A, messages=2, revision=3), conversation(B, messages=2)]
    restore(("conversations", before))
    ids = {new_ledger_id(each, f"{each['_id']}:00000004", 1) for each in stored("conversations").values()}  # type: ignore[arg-type]
    assert not ids & {new_ledger_id(each, f"{each['_id']}:00000004", 1) for each in before}  # type: ignore[arg-type]
    assert len(ids) == 2


def test_a_claim_of_a_summary_is_released() -> None:
    restore(("conversations", [conversation(A, messages=0, summary_claim={"by": "somebody"})]))
    assert stored("conversations")[A]["summary_claim"] is None
