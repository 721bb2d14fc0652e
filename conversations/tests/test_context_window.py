"""What of a conversation goes to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conftest import Person, assert_error
from conversations.context_window import Said, dialogue, first_kept, fits, prompt_budget, select_turns
from edgechat.local.web import WebServer
from usage.tokens import estimate_tokens

texts = st.text(max_size=60)
histories = st.lists(st.tuples(texts, texts), max_size=12).map(
    lambda pairs: [Said(*pair, seq=2 * (len(pairs) - number)) for number, pair in enumerate(pairs)]
)


@given(question=texts, earlier=histories, instruction=st.none() | texts, budget=st.integers(1, 200))
def test_the_latest_whole_exchanges_that_fit_are_chosen(
    question: str, earlier: list[Said], instruction: str | None, budget: int
) -> None:
    window = select_turns(question, iter(earlier), instruction=instruction, budget=budget)
    turns = window.turns
    assert turns[-1].text == question
    assert [turn.role for turn in turns] == ["user", "model"] * (len(turns) // 2) + ["user"]
    pairs = [(turns[index].text, turns[index + 1].text) for index in range(0, len(turns) - 1, 2)]
    newest = earlier[: len(pairs)]
    assert pairs == [(said.question, said.answer) for said in reversed(newest)], "the newest, without a gap"
    cost = sum(estimate_tokens(turn.text) for turn in turns) + estimate_tokens(instruction or "")
    if fits(question, instruction=instruction, budget=budget):
        assert cost <= budget
    assert window.overflowed == (len(pairs) < len(earlier))
    if window.overflowed:
        assert cost + earlier[len(pairs)].tokens > budget, "it would have fitted"


def test_no_more_of_the_history_is_read_than_fits() -> None:
    read = 0

    def endless() -> Iterator[Said]:
        nonlocal read
        while True:
            read += 1
            yield Said("x" * 30, "y" * 30, seq=0)

    window = select_turns("question", endless(), instruction=None, budget=100)
    assert (len(window.turns), window.overflowed, read) == (9, True, 5)


@given(earlier=histories, budget=st.integers(0, 200))
def test_what_is_kept_of_a_history_is_its_end_within_the_budget(earlier: list[Said], budget: int) -> None:
    lowest = first_kept(earlier, budget=budget)
    kept = [said for said in earlier if lowest is not None and said.seq >= lowest]
    assert kept == earlier[: len(kept)]
    assert sum(said.tokens for said in kept) <= budget
    if len(kept) < len(earlier):
        assert sum(said.tokens for said in earlier[: len(kept) + 1]) > budget


@given(history=histories.map(lambda newest_first: newest_first[::-1]), budget=st.integers(1, 200))
def test_a_dialogue_is_within_its_budget_and_always_gets_further(history: list[Said], budget: int) -> None:
    text, last = dialogue(history, budget=budget)
    assert (last is None) == (not history)
    if last is not None:
        assert last in [said.seq for said in history]
        # Each exchange is counted alone: blank lines between them, and rounding, are not.
        assert estimate_tokens(text) <= budget + len(history)


@given(text=st.text(alphabet=st.characters(exclude_categories=[]), max_size=50))
def test_an_estimate_is_never_below_a_third_of_the_bytes(text: str) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    assert size / 3 <= estimate_tokens(text) < size / 3 + 1


@given(window=st.integers(256, 10**6), output=st.integers(1, 10**5))
def test_the_answer_is_left_room_but_never_more_than_a_quarter_of_the_window(window: int, output: int) -> None:
    assert window - prompt_budget(max_tokens=window, max_output_tokens=output) == min(output, window // 4)


def test_a_small_window_holds_for_every_call(
    start_web: Callable[..., WebServer],
    register: Callable[..., Person],
    model_calls: Callable[[str], list[dict[str, Any]]],
) -> None:
    alice = register("alice", start_web(CONTEXT_MAX_TOKENS="256").url)
    conversation = alice.new_conversation(title="Talk", system_instruction="s" * 90)
    for number in range(6):
        assert alice.say(conversation, f"{conversation} number {number} {'x' * 60}").status_code == 200
    calls = model_calls(conversation)
    chats = [call for call in calls if call["system_instruction"]["parts"][0]["text"].startswith("s" * 90)]
    assert len(chats) == 6
    for call in calls:
        sent = [turn["parts"][0]["text"] for turn in call["contents"]]
        assert sum(map(estimate_tokens, [*sent, call["system_instruction"]["parts"][0]["text"]])) <= 256
    for number, call in enumerate(chats):
        roles = [turn["role"] for turn in call["contents"]]
        assert roles == ["user", "model"] * (len(roles) // 2) + ["user"]
        assert call["contents"][-1]["parts"][0]["text"].startswith(f"{conversation} number {number} ")
    assert len(chats[0]["contents"]) == 1
    assert 1 < max(len(call["contents"]) for call in chats) < 11

    alone = alice.new_conversation(title="Talk", system_instruction="s" * 90)
    too_long = alice.say(alone, "y" * (3 * (256 - 64) - 90 + 1))
    detail = "The message is longer than the 192 tokens that one message may have"
    assert_error(too_long, 413, "too_large", detail)
    assert alice.say(alone, "y" * (3 * (256 - 64) - 90)).status_code == 200
    detail = "The prompt is longer than the 256 tokens that a call may have"
    assert_error(alice.post("ai/complete", json={"prompt": "y" * (3 * 256 + 1)}), 413, "too_large", detail)
    assert alice.post("ai/complete", json={"prompt": "y" * 3 * 256}).status_code == 200
    schema = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(60)}}
    complete = alice.post("ai/complete", json={"prompt": "hello", "response_schema": schema})
    assert_error(complete, 413, "too_large", detail)
