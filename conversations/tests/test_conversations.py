"""Creating, listing, reading and deleting conversations."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from accounts.models import Membership, Organization
from conftest import Person, assert_error, at_once
from edgechat.mongo import database

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
NOT_FOUND = (404, "not_found", "Conversation not found")


def stable(body: dict[str, Any]) -> dict[str, Any]:
    """The conversation without id and times, whose form is checked."""
    assert re.fullmatch(r"[0-9a-f]{24}", body["id"])
    assert TIME.fullmatch(body["created_at"])
    assert TIME.fullmatch(body["updated_at"])
    return {name: value for name, value in body.items() if name not in ("id", "created_at", "updated_at")}


EMPTY = {
    "title": None,
    "system_instruction": None,
    "organization_id": None,
    "pinned": False,
    "archived": False,
    "temporary": False,
    "message_count": 0,
    "last_seq": 0,
}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, {}),
        ({}, {}),
        ({"title": None, "system_instruction": None, "organization_id": None}, {}),
        ({"title": "", "system_instruction": " "}, {}),
        ({"title": " Trip "}, {"title": "Trip"}),
        ({"title": "👩‍👩‍👧 e\u0301", "system_instruction": "Be brief."},) * 2,
        ({"title": "t" * 200, "system_instruction": "s" * 8000},) * 2,
        ({"temporary": True},) * 2,
        ({"unknown": 1, "id": "0" * 24, "message_count": 7, "owner_id": 1}, {}),
    ],
)
def test_a_conversation_is_answered_whole(alice: Person, given: dict[str, Any] | None, kept: dict[str, Any]) -> None:
    answer = alice.post("chat/conversations", json=given) if given is not None else alice.post("chat/conversations")
    assert answer.status_code == 201
    assert stable(answer.json()) == EMPTY | kept
    assert alice.get(f"chat/conversations/{answer.json()['id']}").json() == answer.json()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "t" * 201}, "body.title"),
        ({"title": ["x"]}, "body.title"),
        ({"system_instruction": "s" * 8001}, "body.system_instruction"),
        ({"organization_id": "x"}, "body.organization_id"),
        ({"organization_id": 0}, "body.organization_id"),
        ({"organization_id": 2**63}, "body.organization_id"),
        ({"temporary": "maybe"}, "body.temporary"),
    ],
)
def test_a_faulty_conversation_is_422(alice: Person, body: dict[str, Any], field: str) -> None:
    answer = alice.post("chat/conversations", json=body)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert alice.get("chat/conversations").json()["conversations"] == []


def test_an_organization_has_to_be_ones_own(alice: Person, bob: Person) -> None:
    organization = Organization.objects.create(name="Works")
    Membership.objects.create(organization=organization, user_id=bob.id, role="member")
    for absent in (organization.pk, 2**63 - 1):
        answer = alice.post("chat/conversations", json={"organization_id": absent})
        assert_error(answer, 404, "not_found", "Organization not found")
    answer = bob.post("chat/conversations", json={"organization_id": organization.pk})
    assert stable(answer.json()) == EMPTY | {"organization_id": organization.pk}


def ids(body: dict[str, Any]) -> list[str]:
    return [conversation["id"] for conversation in body["conversations"]]


def test_an_empty_list(alice: Person) -> None:
    assert alice.get("chat/conversations").json() == {"conversations": [], "has_more": False, "next_cursor": None}


def test_the_list_has_the_latest_change_first(alice: Person, bob: Person) -> None:
    bob.new_conversation()
    made = [alice.new_conversation(title=str(number)) for number in range(4)]
    assert ids(alice.get("chat/conversations").json()) == made[::-1]
    alice.say(made[1], "hello")
    body = alice.get("chat/conversations").json()
    assert ids(body) == [made[1], made[3], made[2], made[0]]
    assert [stable(one) for one in body["conversations"]][:2] == [
        EMPTY | {"title": "1", "message_count": 2, "last_seq": 2},
        EMPTY | {"title": "3"},
    ]
    assert body["conversations"] == [alice.get(f"chat/conversations/{one}").json() for one in ids(body)]


@pytest.mark.parametrize(
    ("query", "first", "count", "has_more"),
    [
        ({}, 0, 5, False),
        ({"limit": 5}, 0, 5, False),
        ({"limit": 4}, 0, 4, True),
        ({"limit": 100}, 0, 5, False),
        ({"limit": 1}, 0, 1, True),
        ({"limit": 2, "skip": 3}, 3, 2, False),
        ({"limit": 2, "skip": 2}, 2, 2, True),
        ({"skip": 5}, 5, 0, False),
        ({"skip": 1_000_000}, 5, 0, False),
        ({"archived": "true"}, 5, 0, False),
        ({"archived": "false", "limit": 3}, 0, 3, True),
    ],
)
def test_pages_of_the_list(alice: Person, query: dict[str, Any], first: int, count: int, has_more: bool) -> None:
    made = [alice.new_conversation() for _ in range(5)][::-1]
    body = alice.get("chat/conversations", params=query).json()
    assert (ids(body), body["has_more"]) == (made[first : first + count], has_more)
    assert (body["next_cursor"] is not None) == has_more


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
def test_a_cursor_neither_skips_nor_repeats(alice: Person, limit: int) -> None:
    made = [alice.new_conversation() for _ in range(6)][::-1]
    pages: list[list[str]] = []
    cursor: str | None = None
    while not pages or cursor is not None:
        query = {"limit": limit} | ({"cursor": cursor} if cursor is not None else {})
        body = alice.get("chat/conversations", params=query).json()
        pages.append(ids(body))
        assert body["has_more"] == (body["next_cursor"] is not None)
        cursor = body["next_cursor"]
        if len(pages) == 1:
            alice.new_conversation()  # what is new comes before the cursor
    assert [one for page in pages for one in page] == made
    assert len(pages) == -(-6 // limit)


def test_fifty_conversations_made_at_once_are_all_in_the_list(alice: Person) -> None:
    made = at_once(50, lambda _: alice.new_conversation())
    assert sorted(ids(alice.get("chat/conversations?limit=100").json())) == sorted(made)


def test_a_deleted_conversation_is_gone_with_its_messages(alice: Person) -> None:
    kept, deleted = alice.new_conversation(title="kept"), alice.new_conversation(title="deleted")
    alice.say(kept, "stays")
    alice.say(deleted, "goes")
    answer = alice.delete(f"chat/conversations/{deleted}")
    assert (answer.status_code, answer.content) == (204, b"")
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/messages"),
        ("GET", f"/messages/{deleted}:00000001"),
    ):
        assert_error(alice.request(method, f"chat/conversations/{deleted}{path}"), *NOT_FOUND)
    assert_error(alice.say(deleted, "again"), *NOT_FOUND)
    assert ids(alice.get("chat/conversations").json()) == [kept]
    assert len(alice.messages(kept)["messages"]) == 2
    assert database()["messages"].count_documents({"owner_id": alice.id}) == 2
    assert database()["tombstones"].count_documents({"_id": deleted, "owner_id": alice.id, "purged": True}) == 1


def test_deleting_at_once_deletes_once(alice: Person) -> None:
    conversation = alice.new_conversation()
    statuses = at_once(8, lambda _: alice.delete(f"chat/conversations/{conversation}").status_code)
    assert sorted(statuses) == [204] + [404] * 7
    assert database()["tombstones"].count_documents({"owner_id": alice.id}) == 1


def test_deleting_while_a_reply_is_written_leaves_nothing(
    alice: Person, model_calls: Callable[[str], list[dict[str, Any]]], eventually: Callable[..., Any]
) -> None:
    conversation = alice.new_conversation(title="Talk")
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(alice.say, conversation, f"to {conversation} [[delay=1]]")
        eventually(lambda: model_calls(conversation))
        assert alice.delete(f"chat/conversations/{conversation}").status_code == 204
        assert_error(sending.result(), *NOT_FOUND)
    eventually(lambda: all(call["ended_at"] for call in model_calls(conversation)))
    assert database()["messages"].count_documents({"owner_id": alice.id}) == 0
    assert alice.get("chat/conversations").json()["conversations"] == []


def test_reading_while_many_write_is_never_a_fault(alice: Person) -> None:
    """Lists and pages during sends: dense from 1, never a gap."""
    reader = alice.signed_in(alice.tokens["access_token"])
    conversation = alice.new_conversation(title="Talk")
    done = threading.Event()

    def read() -> int:
        reads = 0
        while not done.is_set() and reads < 60:
            body = reader.get(f"chat/conversations/{conversation}/messages").json()
            assert [message["seq"] for message in body["messages"]] == list(range(1, len(body["messages"]) + 1))
            reads += 1
        return reads

    with reader, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for number in range(8):
            assert alice.say(conversation, f"message {number}").status_code == 200
        done.set()
        assert reading.result() > 0
