"""The part of a conversation that is sent to the model. Pure functions: no store, no model, no settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from ai.gemini import Content, PromptPicture
from edgechat.graphemes import cut
from usage.ledger.tokens import estimate_tokens


@dataclass(frozen=True)
class Said:
    """A user's message and the model's answer to it; `seq` is the answer's sequence number."""

    question: str
    answer: str
    seq: int
    pictures: tuple[PromptPicture, ...] = ()

    @property
    def tokens(self) -> int:
        """The tokens of the texts, without the pictures."""
        return estimate_tokens(self.question) + estimate_tokens(self.answer)


@dataclass(frozen=True)
class Window:
    """The turns to send, oldest first; `overflowed` is true if earlier turns did not fit."""

    turns: tuple[Content, ...]
    overflowed: bool


def instruction_with_summary(system_instruction: str | None, summary: str | None) -> str | None:
    """The system instruction, followed by the summary of the messages before the sent turns."""
    if summary is None:
        return system_instruction
    told = f"Summary of the conversation before the messages below:\n{summary}"
    return f"{system_instruction}\n\n{told}" if system_instruction else told


def fits(question: Content, *, instruction: str | None, budget: int) -> bool:
    """Whether a message, its pictures and the instruction fit into `budget` tokens."""
    return _tokens_left(question, instruction=instruction, budget=budget) >= 0


def select_turns(question: Content, earlier: Iterable[Said], *, instruction: str | None, budget: int) -> Window:
    """The latest whole exchanges that fit into `budget` tokens with the question, then the question.

    `earlier` is newest first and is only read as far as exchanges fit, so the cost does not grow with the history.
    Earlier pictures get a quarter of the tokens that the question leaves. From the first exchange whose pictures do not
    fit, all older pictures are left out; their texts stay.
    """
    left = _tokens_left(question, instruction=instruction, budget=budget)
    left_for_pictures = left // 4
    turns: list[Content] = [question]
    overflowed = False
    for said in earlier:
        left -= said.tokens
        if left < 0:
            overflowed = True
            break
        tokens = sum(picture.tokens for picture in said.pictures)
        shown = said.pictures if tokens <= min(left, left_for_pictures) else ()
        if shown:
            left -= tokens
            left_for_pictures -= tokens
        elif said.pictures:
            left_for_pictures = 0
        turns += [Content("model", said.answer), Content("user", said.question, shown)]
    return Window(tuple(reversed(turns)), overflowed)


def _tokens_left(question: Content, *, instruction: str | None, budget: int) -> int:
    pictures = sum(picture.tokens for picture in question.pictures)
    return budget - estimate_tokens(question.text) - pictures - estimate_tokens(instruction or "")


def first_kept(earlier: Iterable[Said], *, budget: int, alone: int) -> int | None:
    """The lowest `seq` of the latest exchanges that fit into `budget` tokens.

    The latest exchange may have up to `alone` tokens. None if it has more, or if there are no exchanges.
    """
    lowest: int | None = None
    for said in earlier:
        if said.tokens > (alone if lowest is None else budget):
            break
        budget -= said.tokens
        lowest = said.seq
    return lowest


def is_as_long_as(earlier: Iterable[Said], *, tokens: int) -> bool:
    """Whether these exchanges have at least `tokens` together; only as many as necessary are read."""
    return any(total >= tokens for total in accumulate(said.tokens for said in earlier))


def beginning(text: str, *, tokens: int) -> str:
    """The beginning of a text for which `estimate_tokens` counts at most `tokens`."""
    return cut(text, len(text.encode()[: 3 * max(0, tokens)].decode(errors="ignore")))


def numbered_dialogue(
    earlier: Iterable[Said], *, summary: tuple[str, int] | None, budget: int
) -> tuple[str, list[int]]:
    """The latest exchanges as text of at most `budget` tokens, each message after its `seq`; and the `seq`s, ascending.

    `earlier` is newest first and is only read as far as exchanges fit. The summary of older messages, with the `seq` of
    its last message, comes first. If the newest exchange does not fit, its beginning is taken.
    """
    beginnings = [f"[{summary[1]}] Summary of all until here: {summary[0]}"] if summary else []
    seqs = [summary[1]] if summary else []
    left = budget - sum(map(estimate_tokens, beginnings))
    parts: list[str] = []
    for said in earlier:
        text = f"\n[{said.seq - 1}] {_user(said)}: {said.question}\n[{said.seq}] Model: {said.answer}"
        if estimate_tokens(text) > left:
            if parts:
                break
            text = beginning(text, tokens=left)
        left -= estimate_tokens(text)
        parts.append(text)
        seqs += [said.seq - 1, said.seq]
    return "".join(beginnings + parts[::-1]).strip(), sorted(seqs)


def dialogue(said: Iterable[Said], *, budget: int, least: int) -> tuple[str, int | None]:
    """Exchanges, oldest first, as text of at most `budget` tokens, and the `seq` of the last exchange in it.

    An empty text and None if all exchanges have fewer tokens than `least`, which must be less than the budget. The last
    exchange is cut, not left out, if the exchanges before it have fewer tokens than `least`, so that each text covers
    at least `least` tokens.
    """
    parts: list[str] = []
    last: int | None = None
    left, told = budget, 0
    for each in said:
        text = f"{_user(each)}: {each.question}\nModel: {each.answer}"
        tokens = estimate_tokens(text) + 1  # plus the separator
        if tokens > left:
            if told >= least:
                break
            text = beginning(text, tokens=left)
        parts.append(text)
        last = each.seq
        told += each.tokens
        left -= tokens
        if left <= 0:
            break
    else:
        if told < least:
            return "", None
    return "\n\n".join(parts), last


def _user(said: Said) -> str:
    return f"User [with {len(said.pictures)} pictures]" if said.pictures else "User"
