"""GET /chat/search, on either Mongo-wire server: one has a text index, the other none."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Person


def search(person: Person, q: str, **query: Any) -> dict[str, Any]:
    answer = person.get("chat/search", params={"q": q, **query})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def said_with(person: Person, q: str) -> list[str]:
    """The snippets of what is found."""
    return [result["snippet"] for result in search(person, q)["results"]]


@pytest.fixture
def storks(alice: Person) -> str:
    """A conversation about storks, whose answers say nothing that is searched for."""
    conversation = alice.new_conversation(title="Birds")
    for text in (
        "White STORKS winter in Chad",
        "Cranes winter in Spain",
        "Grüße from Łódź 😀 and 👩‍👩‍👧",
        "f(x) = a.b* [c+] costs $5.00 \\d {2}|3^",
    ):
        alice.say(conversation, f"[[say=ok]]{text}")
    return conversation


def test_a_result_names_its_message_and_shows_its_words(alice: Person) -> None:
    conversation = alice.new_conversation(title="Birds")
    pair = alice.say(conversation, f"{'before ' * 30}storks \n {'after ' * 60}").json()
    found = search(alice, "storks")
    shown = "…" + ("before " * 6)[2:] + "storks " + ("after " * 19)[:111] + "…"
    assert [result.pop("snippet") for result in found["results"]][1] == shown
    assert found == {
        "results": [
            {"conversation_id": conversation, "message_id": pair[name]["id"], "title": "Birds"}
            for name in ("model_message", "user_message")
        ],
        "has_more": False,
        "next_cursor": None,
    }


@pytest.mark.usefixtures("storks")
@pytest.mark.parametrize(
    ("q", "starts"),
    [
        ("storks", ["White"]),
        ("StOrKs", ["White"]),
        ("winter", ["Cranes", "White"]),
        ("winter  chad", ["White"]),
        ("chad winter", ["White"]),
        ("winter nowhere", []),
        ("grüße", ["Grüße"]),
        ("GRÜSSE", []),
        ("GRÜßE łÓDŹ", ["Grüße"]),
        ("😀", ["Grüße"]),
        ("👩‍👩‍👧", ["Grüße"]),
        ("🚀", []),
        ("a.b*", ["f(x)"]),
        ("a?b*", []),
        ("$5.00", ["f(x)"]),
        ("$5x00", []),
        ("[c+]", ["f(x)"]),
        ("f(x) costs", ["f(x)"]),
        (".*", []),
        ("(", ["f(x)"]),
        ("\\d", ["f(x)"]),
        ("\\w", []),
        ('"', []),
        ("-winter", []),
    ],
)
def test_a_message_is_found_by_all_its_words_whatever_their_case(alice: Person, q: str, starts: list[str]) -> None:
    found = [snippet.removeprefix("[[say=ok]]") for snippet in said_with(alice, q)]
    assert [snippet.split()[0] for snippet in found] == starts


def test_foreign_messages_are_never_found(storks: str, alice: Person, bob: Person) -> None:
    assert search(alice, "storks")["results"][0]["conversation_id"] == storks
    assert search(bob, "storks") == {"results": [], "has_more": False, "next_cursor": None}


def test_deleted_messages_are_not_found(storks: str, alice: Person) -> None:
    assert said_with(alice, "storks")
    alice.delete(f"chat/conversations/{storks}")
    assert said_with(alice, "storks") == []


def test_pages_go_from_the_newest_to_the_oldest_while_more_is_said(alice: Person) -> None:
    conversations = [alice.new_conversation(title=f"{n}") for n in range(2)]
    expected = []
    for n in range(5):
        pair = alice.say(conversations[n % 2], f"word number {n}").json()
        expected += [pair["user_message"]["id"], pair["model_message"]["id"]]
    found = search(alice, "word", limit=3)
    ids = [result["message_id"] for result in found["results"]]
    while found["has_more"]:
        alice.say(conversations[0], "word of later")
        found = search(alice, "word", limit=3, cursor=found["next_cursor"])
        ids += [result["message_id"] for result in found["results"]]
    # The two of an exchange have one time, and the later is the model's.
    assert ids == expected[::-1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "query.q"),
        ({"q": " "}, "query.q"),
        ({"q": "x" * 201}, "query.q"),
        ({"q": "x", "limit": 0}, "query.limit"),
        ({"q": "x", "cursor": "1.x"}, "query.cursor"),
        ({"q": "x", "cursor": f"999999999999999.{'0' * 24}:00000001"}, "query.cursor"),
    ],
)
def test_a_wrong_parameter_is_422(alice: Person, query: dict[str, Any], field: str) -> None:
    answer = alice.get("chat/search", params=query)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
