"""Reading what was used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from usage.recorder import one_snapshot, pending_requests


@dataclass(frozen=True)
class UserUsage:
    """Totals of one user. "24h" is the current hour and the 24 before it, "7d" the current hour and 168 before it."""

    total_requests: int
    requests_last_24h: int
    requests_last_7d: int
    input_tokens: int
    output_tokens: int
    tokens_last_24h: int
    tokens_last_7d: int
    tokens_this_month: int

    def as_body(self) -> dict[str, Any]:
        """The body of GET /usage/me; without a budget there is no limit, and nothing to remain or to reset."""
        return {
            "total_requests": self.total_requests,
            "requests_last_24h": self.requests_last_24h,
            "requests_last_7d": self.requests_last_7d,
            "tokens": {
                "input": self.input_tokens,
                "output": self.output_tokens,
                "total": self.input_tokens + self.output_tokens,
                "last_24h": self.tokens_last_24h,
                "last_7d": self.tokens_last_7d,
            },
            "quota": {"limit": None, "used": self.tokens_this_month, "remaining": None, "resets_at": None},
        }


def user_usage(user_id: int, *, now: datetime | None = None) -> UserUsage:
    """A user's totals up to the last answered request."""
    now = now or timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    day_ago, week_ago = hour - timedelta(hours=24), hour - timedelta(hours=168)
    month = hour.replace(day=1, hour=0)
    with one_snapshot(), connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(sum(requests), 0),
                   coalesce(sum(requests) FILTER (WHERE hour >= %(day)s), 0),
                   coalesce(sum(requests) FILTER (WHERE hour >= %(week)s), 0),
                   coalesce(sum(input_tokens), 0),
                   coalesce(sum(output_tokens), 0),
                   coalesce(sum(input_tokens + output_tokens) FILTER (WHERE hour >= %(day)s), 0),
                   coalesce(sum(input_tokens + output_tokens) FILTER (WHERE hour >= %(week)s), 0),
                   coalesce(sum(input_tokens + output_tokens) FILTER (WHERE hour >= %(month)s), 0),
                   (SELECT last_id FROM usage_recorderposition WHERE id = 1)
              FROM usage_hourlyusage
             WHERE user_id = %(user)s
            """,
            {"user": user_id, "day": day_ago, "week": week_ago, "month": month},
        )
        *sums, position = cursor.fetchone()
        pending = pending_requests(user_id, after=position)
    totals = [int(value) for value in sums]
    return UserUsage(
        totals[0] + len(pending),
        totals[1] + sum(at >= day_ago for at in pending),
        totals[2] + sum(at >= week_ago for at in pending),
        *totals[3:],
    )
