"""What of a conversation goes to the model. Pure: no store, no model, no settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ai.gemini import Turn
from usage.tokens import estimate_tokens


@dataclass(frozen=True)
class Exchange:
    """A user's message and the model's answer to it."""

    question: str
    answer: str


def answer_reserve(*, max_tokens: int, max_output_tokens: int) -> int:
    """Tokens of the window kept free for the answer: what it may take, but never more than a quarter."""
    return min(max_output_tokens, max_tokens // 4)


def fits(question: str, *, system_instruction: str | None, budget: int) -> bool:
    """Whether a message can be sent at all: it and the system instruction within `budget` tokens."""
    return estimate_tokens(question) + estimate_tokens(system_instruction or "") <= budget


def select_turns(
    question: str, earlier: Iterable[Exchange], *, system_instruction: str | None, budget: int
) -> tuple[Turn, ...]:
    """The latest whole exchanges that fit beside the question into `budget` tokens, oldest first, then the question.

    `earlier` comes newest first and is read no further than what fits, so the cost does not grow with the history.
    An exchange without an answer (it failed or was blocked) is left out, for turns must alternate.
    """
    left = budget - estimate_tokens(question) - estimate_tokens(system_instruction or "")
    turns: list[Turn] = [Turn("user", question)]
    for exchange in earlier:
        if not exchange.answer:
            continue
        left -= estimate_tokens(exchange.question) + estimate_tokens(exchange.answer)
        if left < 0:
            break
        turns += [Turn("model", exchange.answer), Turn("user", exchange.question)]
    return tuple(reversed(turns))
