"""The part of a long conversation that is sent to the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from accounts.models import User
from ai.gemini import Content
from conftest import Person
from conversations import transcript_repository as transcripts
from conversations.prompt.context_window import Window, newest_first, select_contents
from conversations.tests.stored_messages import store_messages
from conversations.transcript_repository import collections, message_store
from edgechat.tests.web_settings import SMALL_WINDOW
from usage.ledger.services import set_budget
from usage.ledger.tokens import estimate_tokens
from usage.models import LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]
Eventually = Callable[..., Any]
MAX_TOKENS, MAX_OUTPUT_TOKENS = (int(value) for value in SMALL_WINDOW.values())
SUMMARY = "Summary of the conversation before the messages below:\n"


@pytest.fixture
def small_window(web_with: Callable[..., str]) -> str:
    """The URL of a server with a small context window."""
    return web_with(**SMALL_WINDOW)


@pytest.fixture
def carol(small_window: str) -> Iterator[Person]:
    person = Person(small_window, "carol")
    yield person
    person.close()


def sent(call: dict[str, Any]) -> list[tuple[str, str]]:
    return [(turn["role"], "".join(part["text"] for part in turn["parts"])) for turn in call["contents"]]


def instruction(call: dict[str, Any]) -> str:
    return "".join(part["text"] for part in (call["system_instruction"] or {"parts": []})["parts"])


def estimated(call: dict[str, Any]) -> int:
    return sum(estimate_tokens(text) for _, text in sent(call)) + estimate_tokens(instruction(call))


def said(seq: int) -> str:
    """The text of a message of `store_exchanges`."""
    return f"{'question' if seq % 2 else 'answer'} {(seq + 1) // 2} of many, and so on"


def store_exchanges(person: Person, conversation: str, count: int) -> None:
    """Write this number of exchanges into an empty conversation, as an import does."""
    store_messages(person, conversation, [said(seq) for seq in range(1, 2 * count + 1)])


def test_a_long_conversation_sends_its_latest_whole_turns_and_a_summary(
    carol: Person, model_calls: ModelCalls, eventually: Eventually
) -> None:
    conversation = carol.new_conversation(title="Titled", system_instruction="Be brief.")
    marker = f"window-{conversation}"
    history: list[tuple[str, str]] = []
    summaries = 0
    for number in range(12):
        text = f"{marker} {number} " + "word " * 20
        pair = carol.say(conversation, text).json()
        (call,) = [call for call in model_calls(f"{marker} {number} ") if sent(call)[-1] == ("user", text)]
        assert estimated(call) <= MAX_TOKENS - MAX_OUTPUT_TOKENS
        assert call["generation_config"]["maxOutputTokens"] == MAX_OUTPUT_TOKENS
        *earlier, last = sent(call)
        assert last == ("user", text)
        assert len(earlier) % 2 == 0
        assert earlier == history[len(history) - len(earlier) :]
        assert instruction(call).startswith("Be brief.")
        if len(earlier) < len(history) and summaries:
            assert f"\n\n{SUMMARY}Echo: " in instruction(call)
        history += [("user", text), ("model", pair["model_message"]["content"])]
        # A due summary is generated after the reply; its ledger row exists once the model has been called.
        if len(earlier) < len(history) - 2:
            summaries += 1
            eventually(lambda: stored_summary(carol, conversation) is not None)
    assert summaries
    purposes = list(LedgerEntry.objects.filter(user_id=carol.id).values_list("purpose", flat=True))
    assert purposes.count("chat") == 12
    assert purposes.count("context_summary") >= 1
    assert set(purposes) == {"chat", "context_summary"}


def test_a_prompt_has_all_answered_exchanges_after_failed_refused_and_repeated_ones(
    alice: Person, model_calls: ModelCalls
) -> None:
    conversation = alice.new_conversation(title="Titled")
    store_exchanges(alice, conversation, 15)
    expected = [("model" if seq % 2 == 0 else "user", said(seq)) for seq in range(1, 31)]

    def say(text: str, status: int = 200, **body: Any) -> Any:
        answer = alice.say(conversation, f"{text} {conversation}", **body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def assert_prompt(text: str) -> None:
        [*_, call] = model_calls(f"{text} {conversation}")
        assert sent(call) == [*expected, ("user", f"{text} {conversation}")]
        expected.extend([sent(call)[-1], ("model", f"Echo: {text} {conversation}")])

    say("one")
    assert_prompt("one")
    say("[[status=400]]", 503)
    say("two", client_message_id="two")
    assert_prompt("two")
    set_budget(subject=User.objects.get(pk=alice.id), period="month", token_limit=1)
    say("refused", 429)
    set_budget(subject=User.objects.get(pk=alice.id), period="month", token_limit=None)
    assert say("two", client_message_id="two")["user_message"]["content"] == f"two {conversation}"
    mid = say("three")["model_message"]["id"]
    assert_prompt("three")
    del expected[-2:]
    edited = {"content": f"three and {conversation}"}
    assert alice.post(f"chat/conversations/{conversation}/messages/{mid}/regenerate", json=edited).status_code == 200
    assert_prompt("three and")
    # An earlier version claims without writing the list.
    collections.conversations().update_one({"_id": conversation}, {"$unset": {"recent": 1}})
    say("four")
    assert_prompt("four")


def stored_summary(person: Person, conversation: str) -> Any:
    found = transcripts.find_conversation(person.id, conversation)
    assert found is not None
    return found["summary"]


def test_the_summary_is_made_after_the_reply_and_has_its_own_ledger_row(
    carol: Person, model_calls: ModelCalls, eventually: Eventually
) -> None:
    conversation = carol.new_conversation(title="Titled")
    first = f"{said(1)} {conversation}"  # summaries of other tests' conversations may still be written
    store_messages(carol, conversation, [first, *(said(seq) for seq in range(2, 121))])
    marker = f"now-{conversation}"
    carol.say(conversation, marker)
    # More exchanges are left than three calls can summarize.
    entries = eventually(
        lambda: (
            found
            if len(found := list(LedgerEntry.objects.filter(user_id=carol.id, settled_at__isnull=False))) == 4
            else None
        )
    )
    mid = f"{conversation}:00000122"
    [answered] = [entry.attempt_id for entry in entries if entry.purpose == "chat"]
    assert answered.startswith(f"{mid}:1:")
    assert {entry.attempt_id for entry in entries if entry.purpose == "context_summary"} == {
        f"{answered}:summary:{number}" for number in range(3)
    }
    chat = model_calls(marker)[0]
    calls = [call for call in model_calls(f"User: {first}\n") if call["received_at"] >= chat["ended_at"]]
    # The scripted model echoes, so each summary starts with the exchanges of the first summary.
    assert len(calls) == 3
    for call in calls:
        assert estimated(call) <= MAX_TOKENS
        assert instruction(call).startswith("Summarize this conversation")
    assert sorted(call["prompt_tokens"] for call in calls) == sorted(
        entry.input_tokens for entry in entries if entry.purpose == "context_summary"
    )
    upto = int(re.findall(r"answer (\d+)", sent(calls[-1])[0][1])[-1])
    eventually(lambda: (summary := stored_summary(carol, conversation)) and summary["upto_seq"] == 2 * upto)
    summary = stored_summary(carol, conversation)["text"]
    assert summary.startswith(f"Echo: Summary so far:\nEcho: Summary so far:\nEcho: User: {first}")
    carol.say(conversation, f"{marker} again")
    follow_up = model_calls(f"{marker} again")[0]
    assert instruction(follow_up) == SUMMARY + summary
    assert estimated(follow_up) <= MAX_TOKENS - MAX_OUTPUT_TOKENS
    assert sent(follow_up)[-3:] == [("user", marker), ("model", f"Echo: {marker}"), ("user", f"{marker} again")]


def test_a_title_of_a_long_answer_is_asked_for_within_the_window_too(
    carol: Person, model_calls: ModelCalls, eventually: Eventually
) -> None:
    conversation = carol.new_conversation()
    # Few characters, but many bytes, which the estimate counts.
    carol.say(conversation, f"{conversation} [[say={'😀' * 360}]]")
    title = eventually(lambda: LedgerEntry.objects.filter(user_id=carol.id, purpose="title").first())
    eventually(lambda: LedgerEntry.objects.get(pk=title.pk).settled_at)
    called = [call for call in model_calls("😀" * 300) if conversation in sent(call)[0][1]]
    title_calls = [call for call in called if instruction(call).startswith("Write a title")]
    assert all(estimated(call) <= MAX_TOKENS - MAX_OUTPUT_TOKENS for call in title_calls)
    assert title_calls


def test_a_message_that_alone_is_too_long_is_413_before_anything_is_stored(
    carol: Person, model_calls: ModelCalls
) -> None:
    conversation = carol.new_conversation(title="Titled")
    before = carol.get(f"chat/conversations/{conversation}").json()
    marker = f"long-{conversation} "
    fitting = marker + "x" * (3 * (MAX_TOKENS - MAX_OUTPUT_TOKENS) - len(marker))
    for headers in ({}, {"Accept": "text/event-stream"}):
        body = {"content": fitting + "x"}
        answer = carol.post(f"chat/conversations/{conversation}/messages", json=body, headers=headers)
        assert answer.status_code == 413
        assert answer.json() == {
            "detail": "The message is longer than the 500 tokens that one message may have",
            "code": "too_large",
            "request_id": answer.headers["X-Request-ID"],
        }
    assert model_calls(marker) == []
    assert carol.messages(conversation) == {"messages": [], "has_more": False}
    assert carol.get(f"chat/conversations/{conversation}").json() == before
    assert carol.say(conversation, fitting).status_code == 200
    assert len(model_calls(marker)) == 1


def test_1000_messages_send_the_model_no_more_than_50(carol: Person, model_calls: ModelCalls) -> None:
    estimates, turns = [], []
    for count in (25, 500):
        conversation = carol.new_conversation(title="Titled")
        store_exchanges(carol, conversation, count)
        marker = f"many-{conversation}"
        assert carol.say(conversation, marker).status_code == 200
        call = model_calls(marker)[0]
        estimates.append(estimated(call))
        turns.append(sent(call))
        assert sent(call)[-3:-1] == [("user", said(2 * count - 1)), ("model", said(2 * count))]
    assert max(estimates) <= MAX_TOKENS - MAX_OUTPUT_TOKENS
    assert len(turns[1]) <= len(turns[0]) < 51


def test_reading_the_window_takes_as_many_reads_of_1000_messages_as_of_50(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_messages = message_store.find_messages
    reads: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        reads.append(1)
        return find_messages(*args, **kwargs)

    monkeypatch.setattr(message_store, "find_messages", counted)
    windows: list[Window] = []
    needed = []
    for count in (25, 500):
        conversation = alice.new_conversation()
        store_exchanges(alice, conversation, count)
        reads.clear()
        earlier = newest_first(alice.id, conversation, before_seq=2 * count + 1)
        windows.append(select_contents(Content("user", "now"), earlier, instruction=None, budget=200))
        needed.append(len(reads))
    assert needed[0] == needed[1] <= 3
    assert [window.overflowed for window in windows] == [True, True]
    assert len(windows[1].contents) <= len(windows[0].contents)


def test_unanswered_messages_are_left_out_so_that_turns_alternate(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Titled")
    alice.say(conversation, "one")
    alice.say(conversation, "[[status=500]]lost")
    alice.say(conversation, "[[block=answer]]blocked")
    alice.say(conversation, "[[empty=1]]nothing")
    marker = f"alternate-{conversation}"
    alice.say(conversation, marker)
    (call,) = model_calls(marker)
    assert sent(call) == [("user", "one"), ("model", "Echo: one"), ("user", marker)]
