"""What a one-off call to the model came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ai.metered_call import MeteredCall
from ai.pictures import Picture
from edgechat.errors import ApiError
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


def image_body(picture: Picture) -> dict[str, Any]:
    """The body that describes a picture that is not kept: its id is null."""
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


def finished(call: MeteredCall) -> Completion:
    """What a call that has ended answered. Raises ContentBlocked."""
    if call.blocked:
        raise ContentBlocked(call.finish_reason)
    return Completion(text=call.text, model=call.model, finish_reason=call.finish_reason, usage=call.usage)
