"""The stored form of a failed reply, and the error that clients receive for it."""

from __future__ import annotations

from typing import Any

from ai.gemini import ModelError, ModelQuotaExceeded
from conversations.documents import MessageDocument
from edgechat.errors import ApiError, StoreUnavailable
from usage.ledger.tokens import TokenUsageOutput


def failed_fields(content: str, error: ApiError, usage: TokenUsageOutput | None = None) -> dict[str, Any]:
    """The fields that end a message as failed."""
    failure = {"code": error.code, "retry_after": error.headers.get("Retry-After")}
    return {"content": content, "status": "failed", "failure": failure, "usage": usage}


def failure_of(message: MessageDocument) -> ApiError | None:
    """The error that clients receive for a failed reply; None if the reply did not fail."""
    if message["status"] != "failed":
        return None
    failure: dict[str, Any] = message["failure"] or {}
    retry_after = float(failure["retry_after"]) if failure.get("retry_after") else None
    match failure.get("code"):
        case ModelQuotaExceeded.code:
            return ModelQuotaExceeded(retry_after=retry_after)
        case StoreUnavailable.code:
            return StoreUnavailable()
        case ApiError.code:
            return ApiError()
        case _:
            return ModelError(retry_after=retry_after)
