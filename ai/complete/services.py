"""One prompt, with or without pictures, and one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings

from ai.calls.answers import Answer, Pieces
from ai.gemini.adapter import Prompt, PromptPicture, Turn
from ai.serializers import CompletionOutput, ImageOutput, VisionOutput
from ai.services import finished, vision_body
from ai.vision.pictures import Rendering
from edgechat.errors import TooLarge
from usage.models import LedgerEntry


class PromptAnswer(Answer):
    """The answer to one prompt, outside any conversation. Raises TooLarge if the prompt exceeds a call's limit."""

    def __init__(
        self,
        *,
        user_id: int,
        prompt: str,
        system_instruction: str | None = None,
        response_schema: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(user_id=user_id, purpose=LedgerEntry.Purpose.COMPLETE)
        self._prompt = Prompt(
            turns=(Turn("user", prompt),), system_instruction=system_instruction, response_schema=response_schema
        )
        self._cache_parts = ["complete", prompt, system_instruction, response_schema, self._prompt.max_output_tokens]
        _refuse_too_large(self._prompt)

    def cache_parts(self) -> list[Any]:
        return self._cache_parts

    def make(self) -> Pieces:
        call = self.new_call(self._prompt)
        yield from call.texts()
        return finished(call)

    def body(self) -> CompletionOutput:
        return self.completion.as_body()


class PictureAnswer(Answer):
    """The answer to a prompt about `images`; never cached. Raises TooLarge as PromptAnswer does."""

    def __init__(
        self, *, user_id: int, pictures: Sequence[Rendering], images: Sequence[ImageOutput], prompt: str
    ) -> None:
        super().__init__(user_id=user_id, purpose=LedgerEntry.Purpose.VISION)
        self._images = images
        self._prompt = Prompt(turns=(Turn("user", prompt, tuple(_shown(picture) for picture in pictures)),))
        _refuse_too_large(self._prompt)

    def cache_parts(self) -> None:
        return None

    def make(self) -> Pieces:
        call = self.new_call(self._prompt)
        yield from call.texts()
        return finished(call)

    def body(self) -> VisionOutput:
        return vision_body(self.completion, self._images)


def _shown(picture: Rendering) -> PromptPicture:
    return PromptPicture(picture.width, picture.height, lambda: (picture.data, picture.mime_type))


def _refuse_too_large(prompt: Prompt) -> None:
    if prompt.estimated_tokens() > settings.CONTEXT_MAX_TOKENS:
        raise TooLarge(f"The prompt is longer than the {settings.CONTEXT_MAX_TOKENS} tokens that a call may have")
