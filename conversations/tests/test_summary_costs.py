"""Summaries of exchanges that no longer fit: their cost, and that nothing is summarized twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from conftest import Person, at_once
from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument
from conversations.prompt import upkeep
from conversations.prompt.context_window import AnsweredExchange, dialogue, oldest_first
from conversations.prompt.upkeep import extend_summary
from conversations.tests.stored_messages import store_messages
from edgechat.tests.web_settings import SMALL_WINDOW
from usage.ledger.tokens import estimate_tokens
from usage.models import LedgerEntry

WINDOW = 2000
HALF = WINDOW // 2


def summaries_of(person: Person) -> int:
    return LedgerEntry.objects.filter(user_id=person.id, purpose="context_summary").count()


def stored(person: Person, conversation: str) -> ConversationDocument:
    found = transcripts.find_conversation(person.id, conversation)
    assert found is not None
    return found


def said(number: int) -> list[str]:
    return [f"question {number} " + "word " * 60, f"answer {number} " + "word " * 60]


def test_a_long_conversation_makes_a_call_for_each_half_window_at_most(
    web_with: Callable[..., str], register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    carol = register("carol", web_with(**SMALL_WINDOW))
    conversation = carol.new_conversation(title="Titled")
    tokens = 0
    for number in range(20):
        pair = carol.say(conversation, f"{number} " + "word " * (10 + 20 * (number % 3))).json()
        tokens += sum(estimate_tokens(message["content"]) for message in pair.values())
    eventually(lambda: not stored(carol, conversation).get("summary_claim"))
    eventually(lambda: not LedgerEntry.objects.filter(user_id=carol.id, settled_at=None).exists())
    assert 3 <= summaries_of(carol) <= 2 * tokens // int(SMALL_WINDOW["CONTEXT_MAX_TOKENS"])
    summary = stored(carol, conversation)["summary"]
    assert summary is not None
    assert summary["upto_seq"] > 20, "it keeps up"


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """A small window in this process; the (after_seq, text) of each summarized part."""
    monkeypatch.setattr(settings, "CONTEXT_MAX_TOKENS", WINDOW)
    parts: list[tuple[int, str]] = []
    begins: list[int] = []
    ask = upkeep._ask

    def reading(*args: Any, **kwargs: Any) -> Any:
        begins.append(kwargs["after_seq"])
        return oldest_first(*args, **kwargs)

    def asking(*args: Any, **kwargs: Any) -> Any:
        parts.append((begins[-1], kwargs["text"]))
        return ask(*args, **kwargs)

    monkeypatch.setattr(upkeep, "oldest_first", reading)
    monkeypatch.setattr(upkeep, "_ask", asking)
    return parts


def test_at_once_and_again_nothing_is_summarized_twice(alice: Person, window: list[tuple[int, str]]) -> None:
    conversation = alice.new_conversation(title="Titled")
    store_messages(alice, conversation, [text for number in range(60) for text in said(number)])
    before = stored(alice, conversation)
    at_once(6, lambda number: extend_summary(before, last_seq=120, ledger_id=f"{conversation}:{number}"))
    for number in range(6, 12):
        extend_summary(before, last_seq=120, ledger_id=f"{conversation}:{number}")
    begins = [begin for begin, _ in window]
    assert len(set(begins)) == len(begins) == summaries_of(alice)
    tokens = sum(estimate_tokens(text) for number in range(60) for text in said(number))
    assert tokens // WINDOW < len(begins) <= tokens // HALF
    # Each call uses the whole window, whatever the exchanges' lengths.
    assert all(WINDOW * 0.55 < estimate_tokens(text) < WINDOW * 0.75 for _, text in window[:-1])
    after = stored(alice, conversation)
    assert after["summary"] is not None
    assert 120 - after["summary"]["upto_seq"] < 2 * HALF / 60
    extend_summary(after, last_seq=120, ledger_id=f"{conversation}:again")
    assert summaries_of(alice) == len(begins)


def test_what_the_model_refuses_is_asked_for_once_in_half_a_window(
    alice: Person, window: list[tuple[int, str]]
) -> None:
    conversation = alice.new_conversation(title="Titled")
    first, *others = [text for number in range(30) for text in said(number)]
    store_messages(alice, conversation, [f"[[block=answer]]{first}", *others])
    before = stored(alice, conversation)
    for last_seq in (30, 30, 32, 34):
        extend_summary(before, last_seq=last_seq, ledger_id=f"{conversation}:{last_seq}:{len(window)}")
        assert len(window) == 1
    extend_summary(before, last_seq=60, ledger_id=f"{conversation}:60")
    assert len(window) == 2
    assert stored(alice, conversation)["summary"] is None


def test_a_summary_of_nothing_but_space_is_none(alice: Person, window: list[tuple[int, str]]) -> None:
    conversation = alice.new_conversation(title="Titled")
    first, *others = [text for number in range(30) for text in said(number)]
    store_messages(alice, conversation, [f"[[say=%20%0A]]{first}", *others])
    extend_summary(stored(alice, conversation), last_seq=60, ledger_id=conversation)
    assert len(window) == 1
    assert stored(alice, conversation)["summary"] is None


def test_a_claim_keeps_others_out_until_its_time_is_over(alice: Person, window: list[tuple[int, str]]) -> None:
    conversation = alice.new_conversation(title="Titled")
    store_messages(alice, conversation, [text for number in range(30) for text in said(number)])
    now = upkeep._database_now()
    taken = transcripts.claim_summary(alice.id, conversation, claim="dead", now=now, until=now + timedelta(seconds=600))
    assert taken is not None
    extend_summary(taken, last_seq=60, ledger_id=f"{conversation}:1")
    assert window == []
    transcripts.release_summary(alice.id, conversation, claim="another", tried_seq=0)
    extend_summary(taken, last_seq=60, ledger_id=f"{conversation}:2")
    assert window == []
    late = now + timedelta(seconds=601)
    assert transcripts.claim_summary(alice.id, conversation, claim="next", now=late, until=now) is not None
    extend_summary(taken, last_seq=60, ledger_id=f"{conversation}:3")
    assert window


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 2500)), max_size=30),
    st.integers(400, 900),
)
def test_a_part_stands_for_half_a_window_or_more_and_fits(lengths: list[tuple[int, int]], least: int) -> None:
    exchanges = [
        AnsweredExchange("q" * 3 * first, "a" * 3 * second, 2 * n + 2) for n, (first, second) in enumerate(lengths)
    ]
    text, last = dialogue(exchanges, budget=900, least=least)
    assert estimate_tokens(text) <= 900
    total = sum(each.tokens for each in exchanges)
    if last is None:
        assert (text, total < least) == ("", True)
    else:
        told = sum(each.tokens for each in exchanges if each.seq <= last)
        assert told >= least or estimate_tokens(text) > 850
        assert text.startswith("User: ")
