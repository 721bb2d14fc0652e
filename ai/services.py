"""One-off calls to the model."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from ai.gemini import Prompt, PromptPicture, Turn
from ai.metered_call import MeteredCall
from ai.pictures import Picture, Rendering
from edgechat.errors import ApiError, TooLarge
from usage.models import LedgerEntry
from usage.tokens import TokenUsage


class ContentBlocked(ApiError):
    """The model withheld its answer; `context.finish_reason` is Gemini's word for why."""

    status, code, detail = 422, "content_blocked", "The model refused this on safety grounds"

    def __init__(self, finish_reason: str | None) -> None:
        super().__init__(context={"finish_reason": finish_reason})


@dataclass(frozen=True)
class Completion:
    text: str
    model: str
    finish_reason: str | None
    usage: TokenUsage
    cached: bool = False

    def as_body(self) -> dict[str, Any]:
        """The answer of /ai/complete."""
        return {
            "text": self.text,
            "model": self.model,
            "finish_reason": self.finish_reason,
            "usage": self.usage.as_body(),
            "cached": self.cached,
        }


def completion_call(
    *,
    user_id: int,
    prompt: str,
    system_instruction: str | None = None,
    response_schema: dict[str, Any] | None = None,
) -> MeteredCall:
    """The call that answers one prompt, not made yet. Raises TooLarge for more than a call may have."""
    asked = Prompt(
        turns=(Turn("user", prompt),), system_instruction=system_instruction, response_schema=response_schema
    )
    _refuse_too_large(asked)
    return MeteredCall(
        attempt_id=f"complete:{uuid.uuid4()}", user_id=user_id, purpose=LedgerEntry.Purpose.COMPLETE, prompt=asked
    )


def vision_call(*, user_id: int, pictures: Sequence[Rendering], prompt: str) -> MeteredCall:
    """The call that answers a prompt about pictures, not made yet. Raises TooLarge for more than a call may have."""
    shown = tuple(_shown(picture) for picture in pictures)
    asked = Prompt(turns=(Turn("user", prompt, shown),))
    _refuse_too_large(asked)
    return MeteredCall(
        attempt_id=f"vision:{uuid.uuid4()}", user_id=user_id, purpose=LedgerEntry.Purpose.VISION, prompt=asked
    )


def image_body(picture: Picture) -> dict[str, Any]:
    """The contract's A of a picture that is not kept, and has no id therefore."""
    return {
        "id": None,
        "mime_type": picture.stored.mime_type,
        "width": picture.stored.width,
        "height": picture.stored.height,
        "bytes": len(picture.stored.data),
        "sha256": picture.sha256,
    }


def vision_body(answer: Completion, images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The answer of /ai/vision."""
    return {"text": answer.text, "model": answer.model, "usage": answer.usage.as_body(), "images": list(images)}


def _shown(picture: Rendering) -> PromptPicture:
    return PromptPicture(picture.width, picture.height, lambda: (picture.data, picture.mime_type))


def _refuse_too_large(asked: Prompt) -> None:
    if asked.estimated_tokens() > settings.CONTEXT_MAX_TOKENS:
        raise TooLarge(f"The prompt is longer than the {settings.CONTEXT_MAX_TOKENS} tokens that a call may have")


def complete(call: MeteredCall) -> Completion:
    """Make the call and wait for the whole answer. Raises ModelError and ContentBlocked."""
    call.run()
    return finished(call)


def finished(call: MeteredCall) -> Completion:
    """What a call that has ended answered. Raises ContentBlocked."""
    if call.blocked:
        raise ContentBlocked(call.finish_reason)
    return Completion(text=call.text, model=call.model, finish_reason=call.finish_reason, usage=call.usage)
