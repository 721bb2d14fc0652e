"""Reads of sessions."""

from __future__ import annotations

from accounts.models import Session

MAX_LISTED = 1000


def list_sessions(*, user_id: int) -> list[Session]:
    """The live sessions of a user, latest use first, at most 1000."""
    return list(Session.objects.live().filter(user_id=user_id).order_by("-last_used_at", "id")[:MAX_LISTED])
