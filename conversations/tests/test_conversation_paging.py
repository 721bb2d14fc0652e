"""Paging through GET /chat/conversations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conftest import Person


def page(person: Person, **query: Any) -> dict[str, Any]:
    answer = person.get("chat/conversations", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def walk(person: Person, between: Callable[[], object], **query: Any) -> list[str]:
    """The ids on all pages; an action runs between two pages."""
    found = page(person, **query)
    ids = [conversation["id"] for conversation in found["conversations"]]
    while found["has_more"]:
        between()
        found = page(person, **query, cursor=found["next_cursor"])
        ids += [conversation["id"] for conversation in found["conversations"]]
    assert found["next_cursor"] is None
    return ids


def test_pages_neither_skip_nor_repeat_while_messages_arrive_elsewhere(alice: Person) -> None:
    busy = [alice.new_conversation(title=f"busy {n}") for n in range(3)]
    quiet = [alice.new_conversation(title=f"quiet {n}") for n in range(9)]
    # One from the page before, some from later pages, and new ones.
    turns = iter([quiet[8], busy[0], busy[1], busy[2]] * 2)
    ids = walk(alice, lambda: (alice.say(next(turns), "hello"), alice.new_conversation()), limit=2)
    assert [each for each in ids if each in quiet] == quiet[::-1]
    assert len(ids) == len(set(ids))


def test_the_latest_changed_is_first(alice: Person) -> None:
    first, second, third = (alice.new_conversation(title=f"{n}") for n in range(3))
    alice.say(first, "hello")
    alice.patch(f"chat/conversations/{second}", json={"title": "changed"})
    assert walk(alice, lambda: None, limit=1) == [second, first, third]


def test_pinned_ones_come_first_when_asked_for(alice: Person) -> None:
    conversations = [alice.new_conversation(title=f"{n}") for n in range(8)]
    pinned = [conversations[n] for n in (5, 1, 3)]
    for conversation in pinned:
        alice.patch(f"chat/conversations/{conversation}", json={"pinned": True})
    others = [each for each in conversations[::-1] if each not in pinned]
    ids = walk(alice, alice.new_conversation, limit=2, pinned_first="true")
    assert [each for each in ids if each in conversations] == pinned[::-1] + others
    assert walk(alice, lambda: None, limit=100)[-8:] == pinned[::-1] + others


def test_archived_ones_are_apart(alice: Person) -> None:
    conversations = [alice.new_conversation(title=f"{n}") for n in range(7)]
    archived = conversations[::2]
    for conversation in archived:
        alice.patch(f"chat/conversations/{conversation}", json={"archived": True})
    assert walk(alice, lambda: None, limit=2) == conversations[1::2][::-1]
    assert walk(alice, alice.new_conversation, limit=2, archived="true") == archived[::-1]
    alice.patch(f"chat/conversations/{archived[0]}", json={"archived": False})
    assert walk(alice, lambda: None, limit=2, archived="true") == archived[:0:-1]


@pytest.mark.parametrize("q", ["plan", "PLAN", "a.b*", "(", "\\", "$", "😀", "größe"])
def test_q_finds_parts_of_titles_whatever_their_case(alice: Person, q: str) -> None:
    matching = [alice.new_conversation(title=f"My Plan a.b*( \\ $ 😀 Größe {n}") for n in range(5)]
    alice.new_conversation(title="a-b and other things")
    alice.new_conversation()
    assert walk(alice, lambda: alice.new_conversation(title=q), limit=2, q=q) == matching[::-1]


def test_a_first_page_is_full_again_after_conversations_left_it(alice: Person) -> None:
    conversations = [alice.new_conversation(title=f"{n}") for n in range(8)]

    def first() -> tuple[list[str], bool]:
        body = page(alice, limit=3)
        return [conversation["id"] for conversation in body["conversations"]], body["has_more"]

    for _ in range(2):
        assert first() == (conversations[:4:-1], True)
    alice.patch(f"chat/conversations/{conversations[7]}", json={"archived": True})
    alice.delete(f"chat/conversations/{conversations[5]}")
    for _ in range(2):
        assert first() == ([conversations[n] for n in (6, 4, 3)], True)
    for number in (6, 4, 3):
        alice.delete(f"chat/conversations/{conversations[number]}")
    assert first() == (conversations[2::-1], False)
    alice.patch(f"chat/conversations/{conversations[7]}", json={"archived": False})
    assert first() == ([conversations[n] for n in (7, 2, 1)], True)


def test_pages_are_complete_where_changes_elsewhere_left_wide_gaps_between_the_numbers(alice: Person) -> None:
    quiet = []
    for number in range(3):
        quiet.append(alice.new_conversation(title=f"{number}"))
        for title in range(5):
            temporary = alice.new_conversation(temporary=True)
            alice.patch(f"chat/conversations/{temporary}", json={"title": f"{title}"})
            alice.get("chat/changes")  # numbers the change
    for limit in (1, 2):
        assert walk(alice, lambda: None, limit=limit) == quiet[::-1]
        told, since, has_more = [], 0, True
        while has_more:
            body = alice.get("chat/changes", params={"since": since, "limit": limit}).json()
            told += [conversation["id"] for conversation in body["conversations"]]
            since, has_more = body["next_since"], body["has_more"]
        assert told == quiet


def test_nobody_sees_anothers_conversations(alice: Person, bob: Person) -> None:
    alice.new_conversation(title="Hers")
    assert page(bob) == {"conversations": [], "has_more": False, "next_cursor": None}
    assert page(bob, q="Hers")["conversations"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"cursor": "2-1"}, "query.cursor"),
        ({"cursor": "1-x"}, "query.cursor"),
        ({"cursor": "0-1-1"}, "query.cursor"),
        ({"cursor": "0-5", "skip": 1}, "query.cursor"),
        ({"limit": 0}, "query.limit"),
        ({"limit": 101}, "query.limit"),
        ({"skip": -1}, "query.skip"),
        ({"archived": "perhaps"}, "query.archived"),
    ],
)
def test_a_wrong_parameter_is_422(alice: Person, query: dict[str, Any], field: str) -> None:
    answer = alice.get("chat/conversations", params=query)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
