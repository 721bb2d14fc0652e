"""The errors of a call to the model."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.utils import timezone
from django.utils.http import parse_http_date_safe

from edgechat.errors import ApiError

if TYPE_CHECKING:
    from google.genai import errors

logger = structlog.get_logger(__name__)

MAX_RETRY_SECONDS = 86_400.0
_SECONDS = r"[0-9]{1,1000}(?:\.[0-9]{1,1000})?"


class ModelError(ApiError):
    """A call to the model failed.

    `permanent`: a retry of the same request cannot succeed. `retry_after`: seconds that the model asked to wait, or
    None. `refused`: the model rejected the call with a status and charges nothing.
    """

    status, code, detail = 503, "model_unavailable", "The model is not available, please try again"

    def __init__(self, *, permanent: bool = False, retry_after: float | None = None, refused: bool = False) -> None:
        super().__init__(headers={} if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))})
        self.permanent = permanent
        self.retry_after = retry_after
        self.refused = refused

    @property
    def unavailable(self) -> bool:
        """Whether no call would have been answered, as far as this one can tell."""
        return self.status == 503 and not self.permanent


class ModelOutputInvalid(ModelError):
    """The model answered, but the answer is unusable."""

    code, detail = "model_output_invalid", "The model's answer cannot be used, please try again"


class ModelQuotaExceeded(ModelError):
    status, code, detail = 429, "model_quota", "The model's quota is used up, please try again later"
    sends = ("Retry-After",)


def model_error(error: Exception, *, answering: bool = False) -> ModelError:
    """One error for the SDK's many exceptions. Their texts are logged and never sent to a client.

    `answering`: part of the answer had arrived, so the model charges for its work.
    """
    from google.genai import errors

    if isinstance(error, ModelError):
        return error
    logger.warning("model_call_failed", model=settings.GEMINI_MODEL, reason=repr(error)[:500])
    if not isinstance(error, errors.APIError):
        return ModelError()
    delay = _retry_delay(error)
    if error.code == 429:
        return ModelQuotaExceeded(retry_after=30.0 if delay is None else delay, refused=not answering)
    return ModelError(permanent=400 <= (error.code or 0) < 500, retry_after=delay, refused=not answering)


def _retry_delay(error: errors.APIError) -> float | None:
    """Seconds that the model asked to wait, a day at most, or None.

    The longer of google.rpc.RetryInfo in the body and the header Retry-After.
    """
    match error.details:
        case {"error": {"details": [*details]}} | {"details": [*details]}:
            delays = [_duration(detail.get("retryDelay")) for detail in details if isinstance(detail, dict)]
        case _:
            delays = []
    headers = getattr(error.response, "headers", None) or {}
    delays.append(_seconds_until(headers.get("retry-after")))
    return max((min(delay, MAX_RETRY_SECONDS) for delay in delays if delay is not None), default=None)


def _duration(text: Any) -> float | None:
    """The seconds of a google.protobuf.Duration in JSON."""
    match = re.fullmatch(rf"({_SECONDS})s", text) if isinstance(text, str) else None
    return float(match[1]) if match else None


def _seconds_until(text: str | None) -> float | None:
    """The seconds of a Retry-After, which is a number or an HTTP date. (RFC 9110, 10.2.3)"""
    text = (text or "").strip()
    if re.fullmatch(_SECONDS, text):
        return float(text)
    seconds = parse_http_date_safe(text)
    return None if seconds is None else max(0.0, seconds - timezone.now().timestamp())
