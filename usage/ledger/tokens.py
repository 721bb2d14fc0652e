"""Token counts of one call to the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, TypedDict


class TokenUsageOutput(TypedDict):
    input_tokens: Annotated[int, "The tokens of the prompt."]
    output_tokens: Annotated[int, "Includes thinking."]
    total_tokens: Annotated[int, "Input and output tokens together."]
    cached_tokens: Annotated[int, "Part of the input tokens."]
    thinking_tokens: Annotated[int, "Part of the output tokens."]
    estimated: Annotated[bool, "The model reported no counts; these are estimates."]


@dataclass(frozen=True)
class TokenUsage:
    """`output_tokens` includes `thinking_tokens`; `input_tokens` includes `cached_tokens`."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    thinking_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            thinking_tokens=self.thinking_tokens + other.thinking_tokens,
            estimated=self.estimated or other.estimated,
        )

    def as_body(self) -> TokenUsageOutput:
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "cached_tokens": self.cached_tokens,
            "thinking_tokens": self.thinking_tokens,
            "estimated": self.estimated,
        }


def estimate_tokens(text: str) -> int:
    """A cautious estimate of a text's tokens: one for each three bytes of UTF-8, rounded up.

    Gemini uses a token for about four Latin characters, or for about one Chinese or Japanese character. The estimate is
    higher for both.
    """
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / 3)


def prompt_budget(*, max_tokens: int, max_output_tokens: int) -> int:
    """The tokens that a prompt may have: the window less a reserve for the answer, a quarter of the window at most."""
    return max_tokens - min(max_output_tokens, max_tokens // 4)
