"""GET /chat/conversations/{id}/messages and single messages: pages and their limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Person, assert_error
from conversations.messages.pages import message_page

# Greater than every sequence number: clients send it to get the newest page.
FAR = (8, 99_999_999, 2**31 - 1, 2**31, 2**53 - 1, 2**63 - 1, 2**63, 10**30)
# For six messages: the query, the sequence numbers, has_more.
PAGES: list[tuple[dict[str, Any], list[int], bool]] = [
    ({}, [1, 2, 3, 4, 5, 6], False),
    ({"limit": 6}, [1, 2, 3, 4, 5, 6], False),
    ({"limit": 5}, [1, 2, 3, 4, 5], True),
    ({"limit": 1}, [1], True),
    ({"limit": 100}, [1, 2, 3, 4, 5, 6], False),
    ({"skip": 0, "limit": 2}, [1, 2], True),
    ({"skip": 2, "limit": 2}, [3, 4], True),
    ({"skip": 4, "limit": 2}, [5, 6], False),
    ({"skip": 5, "limit": 2}, [6], False),
    ({"skip": 6}, [], False),
    *(({"skip": far}, [], False) for far in FAR),
    ({"latest": "true"}, [1, 2, 3, 4, 5, 6], False),
    ({"latest": "true", "limit": 2}, [5, 6], True),
    ({"latest": "true", "limit": 6}, [1, 2, 3, 4, 5, 6], False),
    ({"latest": "true", "limit": 5}, [2, 3, 4, 5, 6], True),
    ({"latest": "false", "limit": 2}, [1, 2], True),
    ({"before": 0}, [], False),
    ({"before": 1}, [], False),
    ({"before": 2}, [1], False),
    ({"before": 5, "limit": 2}, [3, 4], True),
    ({"before": 3, "limit": 2}, [1, 2], False),
    ({"before": 7, "limit": 6}, [1, 2, 3, 4, 5, 6], False),
    *(({"before": far, "limit": 2}, [5, 6], True) for far in FAR),
    ({"after": 0, "limit": 2}, [1, 2], True),
    ({"after": 2, "limit": 2}, [3, 4], True),
    ({"after": 4, "limit": 2}, [5, 6], False),
    ({"after": 5}, [6], False),
    ({"after": 6}, [], False),
    *(({"after": far}, [], False) for far in FAR),
]


def test_pages_of_a_conversation(alice: Person) -> None:
    conversation = alice.new_conversation()
    for number in range(3):
        alice.say(conversation, str(number))
    whole = {one["seq"]: one for one in alice.messages(conversation)["messages"]}
    for query, seqs, has_more in PAGES:
        body = alice.messages(conversation, **query)
        assert body == {"messages": [whole[seq] for seq in seqs], "has_more": has_more}, query


def test_pages_of_an_empty_conversation(alice: Person) -> None:
    conversation = alice.new_conversation()
    for query in (
        {},
        {"latest": "true"},
        {"skip": 1},
        {"before": 1},
        {"before": 9},
        {"before": 2**63},
        {"after": 0},
        {"after": 9},
    ):
        assert alice.messages(conversation, **query) == {"messages": [], "has_more": False}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "query.limit"),
        ("limit=101", "query.limit"),
        ("skip=-1", "query.skip"),
        ("before=-1", "query.before"),
        ("after=x", "query.after"),
        ("before=1e9", "query.before"),
        ("before=" + "9" * 1001, "query.before"),
        ("latest=maybe", "query.latest"),
        ("before=1&after=1", "query.after"),
        ("skip=1&before=1", "query.before"),
        ("after=1&latest=true", "query.latest"),
    ],
)
def test_a_faulty_query_is_422(alice: Person, query: str, field: str) -> None:
    answer = alice.get(f"chat/conversations/{alice.new_conversation()}/messages?{query}")
    errors = answer.json()["errors"]
    assert [error["field"] for error in errors] == [field]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


def test_a_message_that_is_not_there_is_404(alice: Person) -> None:
    conversation, other = alice.new_conversation(), alice.new_conversation()
    alice.say(conversation, "hello")
    alice.say(other, "hello")
    path = f"chat/conversations/{conversation}/messages"
    ids = [
        f"{conversation}:00000003",
        f"{conversation}:00000000",
        f"{conversation}:99999999",
        f"{conversation}:1",
        f"{conversation}:0000000١",
        f"{conversation}:00000001%0A",
        f"{other}:00000001",
        "1",
        "%00",
        "null",
        conversation,
    ]
    for mid in ids:
        assert_error(alice.get(f"{path}/{mid}"), 404, "not_found", "Message not found")


places = st.integers(0, 300)


@given(
    last_seq=places,
    limit=st.integers(1, 100),
    way=st.sampled_from(["skip", "before", "after", "latest", "none"]),
    where=places,
)
def test_a_page_has_the_nearest_of_what_there_is(last_seq: int, limit: int, way: str, where: int) -> None:
    """Compares with the simple definition: filter, then cut at the right end."""
    everything = list(range(1, last_seq + 1))
    match way:
        case "skip":
            page, rest = message_page(last_seq, limit=limit, skip=where), everything[where:]
        case "after":
            page, rest = message_page(last_seq, limit=limit, after=where), [s for s in everything if s > where]
        case "before":
            page, rest = message_page(last_seq, limit=limit, before=where), [s for s in everything if s < where]
        case "latest":
            page, rest = message_page(last_seq, limit=limit, latest=True), everything
        case _:
            page, rest = message_page(last_seq, limit=limit), everything
    expected = rest[-limit:] if way in ("before", "latest") else rest[:limit]
    assert (list(page.seqs), page.has_more) == (expected, len(rest) > limit)


@given(last_seq=places, limit=st.integers(1, 100))
def test_walking_back_from_the_latest_meets_every_message_once(last_seq: int, limit: int) -> None:
    page = message_page(last_seq, limit=limit, latest=True)
    met = list(page.seqs)
    while page.has_more:
        page = message_page(last_seq, limit=limit, before=met[0])
        met = [*page.seqs, *met]
    assert met == list(range(1, last_seq + 1))
