"""What a call sends to the model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
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
class Content:
    """One message of the prompt."""

    role: Literal["user", "model"]
    text: str
    pictures: tuple[PromptPicture, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """Everything that a call sends. `response_schema` is a JSON schema that the answer must follow."""

    contents: tuple[Content, ...]
    system_instruction: str | None = None
    response_schema: dict[str, Any] | None = None
    max_output_tokens: int = field(default_factory=lambda: settings.AI_MAX_OUTPUT_TOKENS)

    def estimated_tokens(self) -> int:
        """A cautious estimate of the prompt's tokens."""
        texts = [self.system_instruction or "", *(content.text for content in self.contents)]
        if self.response_schema is not None:
            texts.append(json.dumps(self.response_schema, ensure_ascii=False))
        pictures = sum(picture.tokens for content in self.contents for picture in content.pictures)
        return pictures + sum(estimate_tokens(text) for text in texts)
