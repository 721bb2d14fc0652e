"""The pure functions of a transcript: the messages of a page, and the turns sent to the model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai.gemini import Content
from conversations.messages.pages import message_page
from conversations.prompt.context_window import AnsweredExchange, select_contents
from usage.ledger.tokens import estimate_tokens

LAST = st.integers(0, 300)
LIMIT = st.integers(1, 100)
SEQ = st.integers(0, 400) | st.integers(2**31 - 2, 2**65)
EXCHANGES = st.lists(st.tuples(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60)), max_size=12)


@given(LAST, LIMIT, SEQ)
def test_a_page_after_a_seq_is_what_slicing_gives(last: int, limit: int, after: int) -> None:
    behind = [seq for seq in range(1, last + 1) if seq > after]
    page = message_page(last, limit=limit, after=after)
    assert (list(page.seqs), page.has_more) == (behind[:limit], len(behind) > limit)


@given(LAST, LIMIT, SEQ)
def test_a_page_before_a_seq_is_what_slicing_gives(last: int, limit: int, before: int) -> None:
    earlier = [seq for seq in range(1, last + 1) if seq < before]
    page = message_page(last, limit=limit, before=before)
    assert (list(page.seqs), page.has_more) == (earlier[-limit:], len(earlier) > limit)


@given(LAST, LIMIT, SEQ)
def test_a_page_behind_skipped_ones_is_what_slicing_gives(last: int, limit: int, skip: int) -> None:
    rest = list(range(1, last + 1))[skip:]
    page = message_page(last, limit=limit, skip=skip)
    assert (list(page.seqs), page.has_more) == (rest[:limit], len(rest) > limit)


@given(LAST, LIMIT)
def test_the_latest_page_is_what_slicing_gives(last: int, limit: int) -> None:
    everything = list(range(1, last + 1))
    page = message_page(last, limit=limit, latest=True)
    assert (list(page.seqs), page.has_more) == (everything[-limit:], last > limit)


@given(LAST, LIMIT)
def test_without_a_parameter_the_oldest_page_comes(last: int, limit: int) -> None:
    assert message_page(last, limit=limit) == message_page(last, limit=limit, skip=0)


@pytest.mark.parametrize("start", [{"latest": True}, {}])
@given(last=LAST, limit=LIMIT)
def test_paging_on_meets_each_message_once(start: dict[str, Any], last: int, limit: int) -> None:
    page = message_page(last, limit=limit, **start)
    met = list(page.seqs)
    while page.has_more:
        if start:
            page = message_page(last, limit=limit, before=met[0])
            met = list(page.seqs) + met
        else:
            page = message_page(last, limit=limit, after=met[-1])
            met += page.seqs
    assert met == list(range(1, last + 1))


@given(EXCHANGES, st.text(min_size=1, max_size=60), st.none() | st.text(max_size=60), st.integers(0, 400))
def test_the_window_has_the_latest_whole_exchanges_that_fit(
    texts: list[tuple[str, str]], question: str, instruction: str | None, room: int
) -> None:
    newest_first = [AnsweredExchange(asked, told, seq) for seq, (asked, told) in enumerate(texts)]
    own = estimate_tokens(question) + estimate_tokens(instruction or "")
    window = select_contents(Content("user", question), newest_first, instruction=instruction, budget=own + room)
    kept = (len(window.contents) - 1) // 2
    assert window.contents == (
        *(
            turn
            for said in reversed(newest_first[:kept])
            for turn in (Content("user", said.question), Content("model", said.answer))
        ),
        Content("user", question),
    )
    assert sum(said.tokens for said in newest_first[:kept]) <= room
    assert window.overflowed == (kept < len(texts))
    if kept < len(texts):
        assert sum(said.tokens for said in newest_first[: kept + 1]) > room


def test_the_window_reads_no_further_back_than_what_fits() -> None:
    read = []

    def history() -> Any:
        for seq in range(1000):
            read.append(seq)
            yield AnsweredExchange("q" * 30, "a" * 30, seq)

    window = select_contents(
        Content("user", "question"), history(), instruction=None, budget=estimate_tokens("question") + 45
    )
    assert (len(window.contents), len(read), window.overflowed) == (5, 3, True)


@given(st.text())
def test_the_estimate_is_a_third_of_the_bytes_rounded_up(text: str) -> None:
    tokens, size = estimate_tokens(text), len(text.encode())
    assert 3 * tokens - 2 <= size <= 3 * tokens
