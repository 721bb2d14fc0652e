"""Temporary conversations: after 24 hours they are deleted everywhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from conftest import Person
from conversations import transcript_repository as transcripts
from conversations.services import purge_conversations
from conversations.transcript_repository import collections


def lifetime_over(conversation: str) -> None:
    """Move a conversation's expiry into the past, as after 24 hours."""
    past = {"$min": {"expires_at": collections.now() - timedelta(seconds=1)}}
    collections.conversations().update_one({"_id": conversation}, past)
    collections.messages().update_many({"conversation_id": conversation}, past)


@pytest.fixture
def temporary(alice: Person) -> str:
    conversation = alice.new_conversation(title="Passing", temporary=True)
    alice.say(conversation, "ephemeral")
    return conversation


def test_it_lives_for_24_hours_and_its_messages_with_it(alice: Person, temporary: str) -> None:
    stored = transcripts.find_conversation(alice.id, temporary)
    assert stored is not None
    assert stored["expires_at"] == stored["created_at"] + timedelta(hours=24)
    messages = transcripts.find_messages(alice.id, temporary, (1, 2))
    assert [message["expires_at"] for message in messages] == [stored["expires_at"]] * 2
    assert alice.get(f"chat/conversations/{temporary}").json()["temporary"] is True
    purge_conversations()
    assert alice.get(f"chat/conversations/{temporary}").status_code == 200


def test_it_is_reached_by_its_id_only(alice: Person, temporary: str) -> None:
    since = alice.get("chat/changes").json()["next_since"]
    kept = [alice.new_conversation(title=f"Passing {number}") for number in range(3)]
    for conversation in kept:
        alice.say(conversation, "ephemeral too")
    more = [alice.new_conversation(title="Passing by", temporary=True) for _ in range(2)]
    alice.say(more[1], "ephemeral as well")
    alice.patch(f"chat/conversations/{temporary}", json={"pinned": True})
    for query in ({}, {"pinned_first": "true"}, {"q": "passing"}, {"skip": 0}):
        found: list[str] = []
        cursor: dict[str, Any] = dict(query)
        while True:
            page = alice.get("chat/conversations", params={"limit": 2, **cursor}).json()
            found += [conversation["id"] for conversation in page["conversations"]]
            if not page["has_more"]:
                break
            assert len(page["conversations"]) == 2, "pages are full, though temporary ones lie between"
            cursor = {**{name: value for name, value in query.items() if name != "skip"}, "cursor": page["next_cursor"]}
        assert found == kept[::-1], query
    alice.patch(f"chat/conversations/{temporary}", json={"archived": True})
    assert alice.get("chat/conversations", params={"archived": "true"}).json()["conversations"] == []
    results = alice.get("chat/search", params={"q": "ephemeral", "limit": 3}).json()
    assert {found["conversation_id"] for found in results["results"]} <= set(kept)
    for start in (0, since):
        told = alice.get("chat/changes", params={"since": start}).json()
        assert [conversation["id"] for conversation in told["conversations"]] == kept
        assert told["deleted"] == []
    path = f"chat/conversations/{temporary}"
    assert alice.get(path).json()["message_count"] == 2
    assert len(alice.messages(temporary)["messages"]) == 2
    assert alice.get(f"{path}/export").json()["conversation"]["id"] == temporary
    assert alice.say(temporary, "more").status_code == 200
    exported = alice.get("users/me/export").text
    assert temporary in exported, "an export has all that is stored"
    assert alice.delete(path).status_code == 204
    assert alice.get("chat/changes", params={"since": since}).json()["deleted"] == []


def test_after_its_time_it_is_gone_from_every_call_at_once(alice: Person, temporary: str) -> None:
    kept = alice.new_conversation(title="Kept")
    lifetime_over(temporary)
    path = f"chat/conversations/{temporary}"
    mid = f"{temporary}:00000002"
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", path, None),
        ("PATCH", path, {"title": "Back"}),
        ("GET", f"{path}/messages", None),
        ("POST", f"{path}/messages", {"content": "hello"}),
        ("GET", f"{path}/messages/{mid}", None),
        ("GET", f"{path}/messages/{mid}/stream", None),
        ("POST", f"{path}/messages/{mid}/stop", None),
        ("POST", f"{path}/messages/{mid}/regenerate", {}),
        ("PUT", f"{path}/messages/{mid}/feedback", {"rating": "up"}),
        ("GET", f"{path}/export", None),
    ]
    for method, url, body in calls:
        answer = alice.request(method, url, json=body)
        assert (url, answer.status_code, answer.json()["detail"]) == (url, 404, "Conversation not found")
    for pinned_first in ("false", "true"):
        listed = alice.get("chat/conversations", params={"pinned_first": pinned_first}).json()["conversations"]
        assert [conversation["id"] for conversation in listed] == [kept]
    assert alice.get("chat/search", params={"q": "ephemeral"}).json()["results"] == []
    assert [changed["id"] for changed in alice.get("chat/changes").json()["conversations"]] == [kept]


def test_nothing_is_left_of_it_nor_told_to_other_devices(
    alice: Person, temporary: str, eventually: Callable[..., Any]
) -> None:
    since = alice.get("chat/changes").json()["next_since"]
    lifetime_over(temporary)
    assert purge_conversations() >= 0  # or a web process has deleted it first
    changes = alice.get("chat/changes", params={"since": since}).json()
    assert (changes["conversations"], changes["deleted"]) == ([], [])
    # The web process that has deleted it may not have deleted its messages yet.
    eventually(lambda: collections.conversations().count_documents({"_id": temporary}) == 0)
    eventually(lambda: collections.messages().count_documents({"conversation_id": temporary}) == 0)


def test_a_lasting_conversation_has_no_end(alice: Person) -> None:
    conversation = alice.new_conversation()
    alice.say(conversation, "[[empty=1]]hello")
    stored = transcripts.find_conversation(alice.id, conversation)
    assert stored is not None
    assert stored["expires_at"] is None
    assert [message["expires_at"] for message in transcripts.find_messages(alice.id, conversation, (1, 2))] == [
        None
    ] * 2
