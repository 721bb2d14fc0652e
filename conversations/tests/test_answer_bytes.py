"""Whatever a user has stored, no response exceeds 2 MB, and no call reads much more than it returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from typing import Any

import httpx2
import pytest
from bson import encode

from ai.gemini import Content
from conftest import Person
from conversations.prompt.context_window import newest_first, select_contents
from conversations.tests.events import EVENT_STREAM, follow, read_events
from conversations.tests.stored_messages import store_messages
from conversations.transcript_repository import collections, message_store
from edgechat.http.answer_bytes import PAGE_BYTES, text_bytes
from usage.models import LedgerEntry

MB = 1_000_000
VARIANTS_BYTES = 256 * 1024
# Texts of characters with 1 byte, 4 bytes and, escaped, 6 bytes.
ALPHABETS = ["x", "😀", "\x01"]


def page(person: Person, conversation: str, **query: Any) -> dict[str, Any]:
    answer = person.get(f"chat/conversations/{conversation}/messages", params=query)
    assert answer.status_code == 200
    assert len(answer.content) < PAGE_BYTES + 100 or len(answer.json()["messages"]) == 1
    assert len(answer.content) < 2 * MB
    body: dict[str, Any] = answer.json()
    return body


def variants_bytes(message: dict[str, Any]) -> int:
    return sum(text_bytes(variant["content"]) for variant in message["variants"])


@pytest.fixture
def conversation(alice: Person) -> str:
    return alice.new_conversation(title="Titled")


# --- Pages of messages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", ALPHABETS)
def test_a_page_ends_at_1_mb_and_paging_on_by_seq_meets_every_message_once(
    alice: Person, conversation: str, character: str
) -> None:
    length = 70_000 // text_bytes(character)
    store_messages(alice, conversation, [f"{seq}{character * length}" for seq in range(1, 33)])
    everything = list(range(1, 33))

    def walk(first: dict[str, Any], then: Any) -> list[list[int]]:
        found, pages = page(alice, conversation, limit=100, **first), []
        while True:
            pages.append([message["seq"] for message in found["messages"]])
            if not found["has_more"]:
                return pages
            found = page(alice, conversation, limit=100, **then(pages))

    forwards = walk({}, lambda pages: {"after": pages[-1][-1]})
    skipping = walk({"skip": 0}, lambda pages: {"skip": sum(map(len, pages))})
    assert forwards == skipping
    assert [*chain(*forwards)] == everything
    backwards = walk({"latest": "true"}, lambda pages: {"before": pages[-1][0]})
    assert [*chain(*reversed(backwards))] == everything
    assert [len(pages) for pages in (forwards, backwards)] == [3, 3]


def test_a_page_of_messages_with_earlier_versions_of_before_ends_at_1_mb(alice: Person, conversation: str) -> None:
    """Versions before this limit kept 50 variants of any length."""
    earlier = [f"{number:02d}" + "v" * 72_000 for number in range(50)]
    store_messages(alice, conversation, [f"{seq}" for seq in range(1, 9)], variants=earlier)
    for query in ({}, {"latest": "true"}, {"after": 3}, {"before": 8}, {"skip": 2}):
        found = page(alice, conversation, limit=100, **query)
        assert found["has_more"] is True
        for message in found["messages"]:
            # The latest variants stay, in order.
            assert [variant["content"] for variant in message["variants"]] == earlier[-3:]
    assert page(alice, conversation, before=2)["has_more"] is False


def test_one_message_that_is_longer_than_a_page_is_a_page(alice: Person, conversation: str) -> None:
    store_messages(alice, conversation, ["short", "x" * 1_500_000, "short", "short"])
    assert [message["seq"] for message in page(alice, conversation)["messages"]] == [1]
    found = page(alice, conversation, after=1)
    assert ([message["seq"] for message in found["messages"]], found["has_more"]) == ([2], True)
    found = page(alice, conversation, before=3)
    assert ([message["seq"] for message in found["messages"]], found["has_more"]) == ([2], True)
    found = page(alice, conversation, latest="true")
    assert ([message["seq"] for message in found["messages"]], found["has_more"]) == ([3, 4], True)


# --- Variants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", ALPHABETS)
def test_regenerating_keeps_variants_of_256_kb_together_the_oldest_go(
    alice: Person, conversation: str, character: str
) -> None:
    """The limit counts encoded bytes, so that it also bounds escaped characters."""
    length = min(60_000 // text_bytes(character), 31_000)
    answers: list[str] = []
    pair = alice.say(conversation, f"[[say=first]]{character}").json()
    path = f"chat/conversations/{conversation}/messages/{pair['model_message']['id']}/regenerate"
    for number in range(10):
        answer = alice.post(path, json={"content": f"{number}" + character * length})
        assert answer.status_code == 200
        answers.append(answer.json()["model_message"]["content"])
    told = answer.json()
    for message in told.values():
        assert 180_000 < variants_bytes(message) <= VARIANTS_BYTES
    contents = [variant["content"] for variant in told["model_message"]["variants"]]
    assert contents == answers[:-1][-len(contents) :]
    assert page(alice, conversation)["messages"] == [told["user_message"], told["model_message"]]
    for mid in (message["id"] for message in told.values()):
        stored = collections.messages().find_one({"_id": mid})
        assert stored is not None
        assert variants_bytes(stored) <= VARIANTS_BYTES


@pytest.mark.parametrize("character", ALPHABETS)
def test_an_answer_that_is_longer_than_all_variants_may_be_is_kept_up_to_there(
    alice: Person, conversation: str, character: str
) -> None:
    long = "long: " + character * (300_000 // text_bytes(character))
    store_messages(alice, conversation, ["question", long], variants=["one", "two"])
    path = f"chat/conversations/{conversation}/messages/{conversation}:00000002"
    told = alice.post(f"{path}/regenerate", json={"content": "next"}).json()["model_message"]
    [earlier] = told["variants"]
    assert long.startswith(earlier["content"])
    assert earlier["finish_reason"] == "MAX_TOKENS"
    assert 0.9 * VARIANTS_BYTES < variants_bytes(told) <= VARIANTS_BYTES
    assert alice.get(path).json() == told
    told = alice.post(f"{path}/regenerate", json={"content": "last"}).json()["model_message"]
    assert [each["content"] for each in told["variants"]][-1] == "Echo: next"
    assert variants_bytes(told) <= VARIANTS_BYTES


def test_more_small_variants_than_50_are_not_kept(alice: Person, conversation: str) -> None:
    store_messages(alice, conversation, ["question", "answer"], variants=[str(number) for number in range(50)])
    path = f"chat/conversations/{conversation}/messages/{conversation}:00000002/regenerate"
    answer = alice.post(path).json()["model_message"]
    assert [each["content"] for each in answer["variants"]] == [*map(str, range(1, 50)), "answer"]


def test_what_is_answered_about_one_message_of_before_is_below_2_mb(alice: Person, conversation: str) -> None:
    store_messages(alice, conversation, ["question", "answer"], variants=["\x02" * 70_000] * 20)
    mid = f"{conversation}:00000002"
    path = f"chat/conversations/{conversation}/messages/{mid}"
    answers: list[httpx2.Response] = [
        alice.get(path),
        alice.put(f"{path}/feedback", json={"rating": "up"}),
        alice.post(f"{path}/stop"),
        alice.post(f"{path}/regenerate", json={"content": "[[status=500]]failed"}),
        alice.post(f"{path}/regenerate", json={"content": "again"}),
    ]
    for answer in answers:
        assert len(answer.content) < 2 * MB
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503, 200]
    with alice.stream("POST", f"{path}/regenerate", json={}, headers=EVENT_STREAM) as streamed:
        events = list(read_events(streamed.iter_lines()))
    for told in [*events, *follow(alice, conversation, mid)[1]]:
        assert len(json.dumps(told)) < 2 * MB


def test_an_answer_of_a_model_that_does_not_end_is_cut_at_1_mb(
    start_web: Callable[..., Any], register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    web = start_web(AI_MAX_OUTPUT_TOKENS="1000000", CONTEXT_MAX_TOKENS="2000000")
    alice = register("alice", web.url)
    conversation = alice.new_conversation(title="Titled")
    answer = alice.say(conversation, "[[length=3000000]][[chunks=50]]")
    assert answer.status_code == 200
    message = answer.json()["model_message"]
    assert (message["status"], message["finish_reason"]) == ("complete", "MAX_TOKENS")
    assert 0.95 * MB < text_bytes(message["content"]) <= MB
    assert page(alice, conversation, after=1)["messages"] == [message]
    entries = LedgerEntry.objects.filter(user_id=alice.id, purpose="chat")
    eventually(lambda: entries.get().output_tokens > 0)
    # The answer exceeds the limit of a message's variants, so only its beginning is kept.
    path = f"chat/conversations/{conversation}/messages/{message['id']}/regenerate"
    again = alice.post(path, json={"content": "short"}).json()["model_message"]
    [earlier] = again["variants"]
    assert (again["content"], earlier["finish_reason"]) == ("Echo: short", "MAX_TOKENS")
    assert message["content"].startswith(earlier["content"])
    assert 0.9 * VARIANTS_BYTES < variants_bytes(again) <= VARIANTS_BYTES


# --- Lists -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def wordy(alice: Person) -> list[str]:
    """The ids of many conversations with titles and instructions of the maximum length."""
    body = {"title": "\x01" * 200, "system_instruction": "\x01" * 8000}
    return [alice.new_conversation(**body) for _ in range(45)]


def test_pages_of_conversations_and_of_changes_end_at_1_mb_and_lead_on(alice: Person, wordy: list[str]) -> None:
    ids: list[str] = []
    query: dict[str, Any] = {"limit": 100}
    while True:
        answer = alice.get("chat/conversations", params=query)
        assert len(answer.content) < PAGE_BYTES + 1000
        ids += [each["id"] for each in answer.json()["conversations"]]
        if not answer.json()["has_more"]:
            break
        query["cursor"] = answer.json()["next_cursor"]
    assert ids == wordy[::-1]
    for conversation in wordy[::9]:
        alice.delete(f"chat/conversations/{conversation}")
    changed, deleted, since, answers = [], [], 0, 0
    while True:
        answer = alice.get("chat/changes", params={"since": since, "limit": 100})
        assert len(answer.content) < PAGE_BYTES + 10_000
        told = answer.json()
        changed += [each["id"] for each in told["conversations"]]
        deleted += told["deleted"]
        answers += 1
        since = told["next_since"]
        if not told["has_more"]:
            break
    assert changed == [each for each in wordy if each not in wordy[::9]]
    assert sorted(set(deleted)) == sorted(wordy[::9])
    assert answers == 2


def test_a_search_that_finds_long_messages_keeps_their_snippets_only(alice: Person, conversation: str) -> None:
    word = f"needle{conversation}"
    store_messages(alice, conversation, [f"{word} {'x' * 60_000}" for _ in range(30)])
    answer = alice.get("chat/search", params={"q": word, "limit": 25})
    assert len(answer.content) < 20_000
    first = answer.json()
    assert len(first["results"]) == 25
    second = alice.get("chat/search", params={"q": word, "limit": 25, "cursor": first["next_cursor"]}).json()
    found = [result["message_id"] for result in first["results"] + second["results"]]
    assert found == [f"{conversation}:{seq:08d}" for seq in range(30, 0, -1)]


# --- Reads -----------------------------------------------------------------------------------------------------------


def test_a_send_reads_only_what_it_sends_of_a_conversation_full_of_long_messages(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    find = message_store._find

    def measured(*args: Any, **kwargs: Any) -> Any:
        found = find(*args, **kwargs)
        read.extend(len(encode(dict(message))) for message in found)
        return found

    monkeypatch.setattr(message_store, "_find", measured)
    conversation = alice.new_conversation()
    store_messages(alice, conversation, ["x" * 100_000] * 60, variants=["v" * 60_000] * 4)
    earlier = newest_first(alice.id, conversation, before_seq=61)
    select_contents(Content("user", "now"), earlier, instruction=None, budget=70_000)
    assert sum(read) < MB
    assert alice.say(conversation, "now").status_code == 200


def test_exports_of_long_conversations_are_whole(alice: Person, conversation: str) -> None:
    contents = [f"{seq} {'x' * (200_000 if seq % 7 == 0 else 10)}" for seq in range(1, 61)]
    store_messages(alice, conversation, contents, variants=["v" * 40_000])
    path = f"chat/conversations/{conversation}/export"
    messages = alice.get(path).json()["messages"]
    assert [message["content"] for message in messages] == contents
    assert {len(message["variants"]) for message in messages} == {1}
    markdown = alice.get(path, params={"format": "markdown"}).text
    assert [part for part in markdown.split("\n\n") if not part.startswith(("#", "\n#"))] == [
        f"{content}\n" if number == 60 else content for number, content in enumerate(contents, 1)
    ]
