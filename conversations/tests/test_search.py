"""GET /chat/search, and `q` of the lists of conversations."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
import regex

from conftest import Person
from conversations.tests.stored_messages import store_messages


def search(person: Person, q: str, **query: Any) -> dict[str, Any]:
    answer = person.get("chat/search", params={"q": q, **query})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def said_with(person: Person, q: str) -> list[str]:
    """The snippets of the results."""
    return [result["snippet"] for result in search(person, q)["results"]]


@pytest.fixture
def storks(alice: Person) -> str:
    """A conversation about storks; its answers do not match any search."""
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


# The query, and the first words of the results.
FOUND = [
    ("storks", ["White"]),
    ("StOrKs", ["White"]),
    ("winter", ["Cranes", "White"]),
    ("winter  chad", ["White"]),
    ("chad winter", ["White"]),
    ("winter nowhere", []),
    ("grüße", ["Grüße"]),
    ("GRÜSSE", ["Grüße"]),
    ("rÜSs", ["Grüße"]),
    ("gru\u0308\u1e9ee", ["Grüße"]),
    ("gruße", []),
    ("tork", ["White"]),
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
]


@pytest.mark.usefixtures("storks")
def test_a_message_is_found_by_all_its_words_whatever_their_case(alice: Person) -> None:
    found = [(q, [text.removeprefix("[[say=ok]]").split()[0] for text in said_with(alice, q)]) for q, _ in FOUND]
    assert found == FOUND


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
    # Both messages of an exchange have the same time; the model's message is the later one.
    assert ids == expected[::-1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "query.q"),
        ({"q": " "}, "query.q"),
        ({"q": "x" * 201}, "query.q"),
        ({"q": "a b c d e f g h i j k"}, "query.q"),
        ({"q": "x", "limit": 0}, "query.limit"),
        ({"q": "x", "cursor": "1.x"}, "query.cursor"),
        ({"q": "x", "cursor": f"999999999999999.{'0' * 24}:00000001"}, "query.cursor"),
    ],
)
def test_a_wrong_parameter_is_422(alice: Person, query: dict[str, Any], field: str) -> None:
    answer = alice.get("chat/search", params=query)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


# The text of the message, and the query.
SPELLINGS = [
    ("Straße", "STRASSE"),
    ("STRASSE", "straße"),
    ("İstanbul", "istanbul"),
    ("İstanbul", "İSTANBUL"),
    ("IĞDIR", "ığdır"),
    ("Ispartalı", "ISPARTALI"),
    ("Tiếng Việt", "tiếng việt"),
    ("한국어", "한국"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ("ᾳδης", "ΑΙΔΗΣ"),
    ("oﬃce", "OFFICE"),
    ("\u212a2", "k2"),
    ("পো", "পো"),
    ("Ångström", "ångstro\u0308m"),
    ("Ǆ", "ǆ"),
]


def forms(text: str) -> list[str]:
    return [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]


def test_words_are_found_in_either_unicode_form_and_case(alice: Person) -> None:
    conversation = alice.new_conversation()
    said = [f"{number}: {form}." for number, (text, _) in enumerate(SPELLINGS) for form in forms(text)]
    store_messages(alice, conversation, said)
    for number, (_, q) in enumerate(SPELLINGS):
        for form in forms(q):
            found = said_with(alice, f"{number}: {form}")
            assert sorted(found) == sorted(said[2 * number : 2 * number + 2]), form


def test_titles_are_found_in_either_unicode_form_and_case(alice: Person, bob: Person) -> None:
    organization = alice.post("organizations", json={"name": "Birds"}).json()["id"]
    for number, (text, _) in enumerate(SPELLINGS):
        for form in forms(text):
            alice.new_conversation(title=f"{number}: {form}.", organization_id=organization)
    bob.new_conversation(title=f"0: {SPELLINGS[0][0]}.")
    for number, (text, q) in enumerate(SPELLINGS):
        titles = sorted(f"{number}: {form}." for form in forms(text))
        for form in forms(q):
            for query in ({}, {"pinned_first": True}, {"organization_id": organization}):
                params = {"q": f"{number}: {form}", **query}
                body = alice.get("chat/conversations", params=params).json()
                assert sorted(each["title"] for each in body["conversations"]) == titles, params


def test_titles_that_only_look_alike_take_no_place_on_a_page(alice: Person) -> None:
    for n in range(3):
        alice.new_conversation(title=f"cafe\u0301 {n}")
        alice.new_conversation(title=f"cafe {n}")
    for q, titles in (("CAFÉ", [f"cafe\u0301 {n}" for n in (2, 1, 0)]), ("cafe", [f"cafe {n}" for n in (2, 1, 0)])):
        first = alice.get("chat/conversations", params={"q": q, "limit": 2}).json()
        assert ([each["title"] for each in first["conversations"]], first["has_more"]) == (titles[:2], True)
        for rest in ({"cursor": first["next_cursor"]}, {"skip": 2}):
            page = alice.get("chat/conversations", params={"q": q, "limit": 2, **rest}).json()
            assert ([each["title"] for each in page["conversations"]], page["has_more"]) == (titles[2:], False)


def test_messages_that_only_look_alike_take_no_place_on_a_page(alice: Person) -> None:
    conversation = alice.new_conversation()
    store_messages(alice, conversation, ["caf\u00e9 of old", *["cafe\u0301", "cafe\u0301\u0323", "cafe"] * 5])
    found = search(alice, "cafe", limit=3)
    rest = search(alice, "cafe", limit=3, cursor=found["next_cursor"])
    assert [result["snippet"] for result in found["results"] + rest["results"]] == ["cafe"] * 5
    assert (found["has_more"], rest["has_more"]) == (True, False)
    assert said_with(alice, "café old") == ["café of old"]


@pytest.mark.parametrize(
    "before", ["İ" * 300, "ß\n" * 200, "👩‍👩‍👧" * 100, "e\u0301" * 5000, "🇩🇪" * 301, "한" * 700, "x" * 3000]
)
def test_a_snippet_has_the_match_and_whole_characters(alice: Person, before: str) -> None:
    conversation = alice.new_conversation()
    store_messages(alice, conversation, [f"{before} cafe\u0301-Straße {before}"])
    (shown,) = said_with(alice, "CAFÉ-STRASSE")
    assert "cafe\u0301-Straße" in shown
    assert len(shown) <= 170
    whole = {"…", *regex.findall(r"\X", f"{before} cafe\u0301-Straße "), " "}
    assert set(regex.findall(r"\X", shown)) <= whole


def test_a_snippet_has_the_whole_of_a_long_match(alice: Person) -> None:
    conversation = alice.new_conversation()
    store_messages(alice, conversation, ["a" * 100 + "👩‍👩‍👧" * 40 + "b" * 100])
    (shown,) = said_with(alice, "👩‍👩‍👧" * 40)
    assert "👩‍👩‍👧" * 40 in shown


def test_a_long_message_is_searched_while_others_have_their_turn(alice: Person) -> None:
    conversation = alice.new_conversation()
    store_messages(alice, conversation, ["É" * 480_000 + " Straße"])
    (shown,) = said_with(alice, "strasse")
    assert shown.endswith("É Straße")
