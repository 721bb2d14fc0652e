"""Reading what was used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from usage.recorder import pending_requests


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

    def as_body(self) -> dict[str, Any]:
        """The body of GET /usage/me, but for its quota."""
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
        }


def user_usage(user_id: int, *, now: datetime | None = None) -> UserUsage:
    """A user's totals up to the last answered request."""
    now = now or timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    day_ago, week_ago = hour - timedelta(hours=24), hour - timedelta(hours=168)
    with connection.cursor() as cursor:
        # Totals and position in one statement, so one snapshot: what is not in the totals is behind the position.
        cursor.execute(
            """
            SELECT coalesce(sum(requests), 0),
                   coalesce(sum(requests) FILTER (WHERE hour >= %(day)s), 0),
                   coalesce(sum(requests) FILTER (WHERE hour >= %(week)s), 0),
                   coalesce(sum(input_tokens), 0),
                   coalesce(sum(output_tokens), 0),
                   coalesce(sum(input_tokens + output_tokens) FILTER (WHERE hour >= %(day)s), 0),
                   coalesce(sum(input_tokens + output_tokens) FILTER (WHERE hour >= %(week)s), 0),
                   (SELECT last_id FROM usage_recorderposition WHERE id = 1)
              FROM usage_hourlyusage
             WHERE user_id = %(user)s
            """,
            {"user": user_id, "day": day_ago, "week": week_ago},
        )
        row = cursor.fetchone()
    *sums, position = row
    totals = [int(value) for value in sums]
    pending = pending_requests(user_id, after=position)
    return UserUsage(
        totals[0] + len(pending),
        totals[1] + sum(at >= day_ago for at in pending),
        totals[2] + sum(at >= week_ago for at in pending),
        *totals[3:],
    )
