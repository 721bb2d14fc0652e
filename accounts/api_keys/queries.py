"""Reads of API keys."""

from __future__ import annotations

from accounts.models import ApiKey


def list_api_keys(*, user_id: int) -> list[ApiKey]:
    """A user's keys that have not been ended, expired ones included, newest first; at most MAX_API_KEYS."""
    return list(ApiKey.objects.filter(user_id=user_id, ended_at=None).order_by("-created_at", "id"))
