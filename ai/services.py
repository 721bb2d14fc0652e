"""The result and the errors of a one-off call to the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

from accounts.open_calls.registry import HungUp
from accounts.open_calls.slots import TooManyReplies
from ai.calls.metered import MeteredCall
from ai.gemini.adapter import ModelError, ModelOutputInvalid, ModelQuotaExceeded
from ai.serializers import CompletionOutput, ImageOutput, VisionOutput
from ai.vision.pictures import Picture
from edgechat.errors import ApiError
from edgechat.http.bodies import Keywords
from usage.ledger.budgets import BudgetExceeded
from usage.ledger.tokens import TokenUsage

# The errors of a request that calls the model.
MODEL_ERRORS = (ModelError, ModelOutputInvalid, ModelQuotaExceeded, BudgetExceeded, TooManyReplies)


class BlockedContext(TypedDict):
    finish_reason: Annotated[str | None, "Gemini's word for why.", Keywords(example="SAFETY")]


class ContentBlocked(ApiError):
    """The model withheld its answer."""

    status, code, detail = 422, "content_blocked", "The model refused this on safety grounds"
    context_body = BlockedContext

    def __init__(self, finish_reason: str | None) -> None:
        super().__init__(context=BlockedContext(finish_reason=finish_reason))


# The errors of a one-off call, which ends with its connection.
ONE_OFF_ERRORS = (*MODEL_ERRORS, ContentBlocked, HungUp)


@dataclass(frozen=True)
class Completion:
    text: str
    model: str
    finish_reason: str | None
    usage: TokenUsage
    cached: bool = False

    def as_body(self) -> CompletionOutput:
        return {
            "text": self.text,
            "model": self.model,
            "finish_reason": self.finish_reason,
            "usage": self.usage.as_body(),
            "cached": self.cached,
        }


def image_body(picture: Picture) -> ImageOutput:
    return {
        "id": None,
        "mime_type": picture.stored.mime_type,
        "width": picture.stored.width,
        "height": picture.stored.height,
        "bytes": len(picture.stored.data),
        "sha256": picture.sha256,
    }


def vision_body(answer: Completion, images: Sequence[ImageOutput]) -> VisionOutput:
    return {"text": answer.text, "model": answer.model, "usage": answer.usage.as_body(), "images": list(images)}


def finished(call: MeteredCall) -> Completion:
    """The result of a call that has ended. Raises ContentBlocked."""
    if call.blocked:
        raise ContentBlocked(call.finish_reason)
    return Completion(text=call.text, model=call.model, finish_reason=call.finish_reason, usage=call.usage)
