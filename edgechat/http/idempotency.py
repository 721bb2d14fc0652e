"""The Idempotency-Key header."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from edgechat.errors import ApiError, Invalid

MAX_KEY_CHARACTERS = 128

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    location="header",
    description="A call repeated with the same key has the first one's effect and answer; another body is a 409.",
)


class IdempotencyConflict(ApiError):
    status, code = 409, "idempotency_conflict"
    detail = "This key was used before, with another body"


def idempotency_key(request: Request) -> str | None:
    """The header's value; None without it. Raises Invalid for a value that is empty, too long or not printable."""
    key: str | None = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= MAX_KEY_CHARACTERS and key.isprintable()):
        raise Invalid({"header.Idempotency-Key": f"Must have 1 to {MAX_KEY_CHARACTERS} printable characters."})
    return key
