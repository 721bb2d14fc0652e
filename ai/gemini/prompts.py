"""What a call sends to the model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from django.conf import settings

from usage.ledger.tokens import estimate_tokens


@dataclass(frozen=True)
class PromptPicture:
    """A picture for the model: width and height in pixels, and a function for its bytes and type when the call is made.

    The function returns None if the picture has been deleted.
    """

    width: int
    height: int
    read: Callable[[], tuple[bytes, str] | None]

    @property
    def tokens(self) -> int:
        """A cautious count by Gemini's rule: 258 for each tile. A tile's side is two thirds of the shorter side, within
        256 to 768 pixels. (https://ai.google.dev/gemini-api/docs/tokens)
        """
        if max(self.width, self.height) <= 384:
            return 258
        tile = min(768, max(256, math.floor(min(self.width, self.height) / 1.5)))
        return 258 * math.ceil(self.width / tile) * math.ceil(self.height / tile)


@dataclass(frozen=True)
class FunctionCall:
    """A call of one of the prompt's functions, for which the model asks.

    `signature` is the model's own record of how it came to it. The model wants it back with the call.
    """

    name: str
    arguments: dict[str, Any]
    signature: bytes | None = None

    def as_text(self) -> str:
        return self.name + json.dumps(self.arguments)


@dataclass(frozen=True)
class FunctionResult:
    name: str
    text: str


@dataclass(frozen=True)
class Content:
    """One message of the prompt. Only the model makes calls, and only the user has results of them."""

    role: Literal["user", "model"]
    text: str
    pictures: tuple[PromptPicture, ...] = ()
    calls: tuple[FunctionCall, ...] = ()
    results: tuple[FunctionResult, ...] = ()

    def texts(self) -> Iterator[str]:
        """Everything that the model reads as text."""
        yield self.text
        yield from (call.as_text() for call in self.calls)
        yield from (result.name + result.text for result in self.results)


@dataclass(frozen=True)
class Sampling:
    """How the model chooses its words. None for its own default."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Function:
    """A function that the model may ask for. `parameters` is a JSON schema of its arguments, None for no arguments."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True)
class Tools:
    """`mode`: AUTO lets the model choose between text and calls, ANY requires a call, NONE forbids it.

    `allowed` limits ANY to these functions.
    """

    functions: tuple[Function, ...]
    mode: Literal["AUTO", "ANY", "NONE"] = "AUTO"
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """Everything that a call sends. The answer must follow `response_schema`, a JSON schema; empty for any JSON."""

    contents: tuple[Content, ...]
    system_instruction: str | None = None
    response_schema: dict[str, Any] | None = None
    sampling: Sampling | None = None
    tools: Tools | None = None
    max_output_tokens: int = field(default_factory=lambda: settings.AI_MAX_OUTPUT_TOKENS)

    def estimated_tokens(self) -> int:
        """A cautious estimate of the prompt's tokens."""
        texts = [self.system_instruction or "", *(text for content in self.contents for text in content.texts())]
        if self.response_schema is not None:
            texts.append(json.dumps(self.response_schema, ensure_ascii=False))
        if self.tools is not None:
            texts += [json.dumps([each.name, each.description, each.parameters]) for each in self.tools.functions]
        pictures = sum(picture.tokens for content in self.contents for picture in content.pictures)
        return pictures + sum(estimate_tokens(text) for text in texts)
