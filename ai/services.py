"""One-off calls to the model."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from ai.gemini import Prompt, Turn
from ai.metered_call import MeteredCall
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
    if asked.estimated_tokens() > settings.CONTEXT_MAX_TOKENS:
        raise TooLarge(f"The prompt is longer than the {settings.CONTEXT_MAX_TOKENS} tokens that a call may have")
    return MeteredCall(
        attempt_id=f"complete:{uuid.uuid4()}", user_id=user_id, purpose=LedgerEntry.Purpose.COMPLETE, prompt=asked
    )


def complete(call: MeteredCall) -> Completion:
    """Make the call and wait for the whole answer. Raises ModelError and ContentBlocked."""
    call.run()
    return finished(call)


def finished(call: MeteredCall) -> Completion:
    """What a call that has ended answered. Raises ContentBlocked."""
    if call.blocked:
        raise ContentBlocked(call.finish_reason)
    return Completion(text=call.text, model=call.model, finish_reason=call.finish_reason, usage=call.usage)
