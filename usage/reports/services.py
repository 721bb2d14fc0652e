"""The usage of a user."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.db import connection
from django.utils import timezone

from usage.requests.recorder import one_snapshot, pending_requests
from usage.serializers import DayUsageOutput, TokensUsedOutput, UsageTotals


@dataclass(frozen=True)
class TokenTotals:
    """ "24h" is the current hour and the 24 before it, "7d" the current hour and the 168 before it."""

    input: int = 0
    output: int = 0
    last_24h: int = 0
    last_7d: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output

    def __add__(self, other: TokenTotals) -> TokenTotals:
        return TokenTotals(
            self.input + other.input,
            self.output + other.output,
            self.last_24h + other.last_24h,
            self.last_7d + other.last_7d,
        )

    def as_body(self) -> TokensUsedOutput:
        return {
            "input": self.input,
            "output": self.output,
            "total": self.total,
            "last_24h": self.last_24h,
            "last_7d": self.last_7d,
        }


def recent_hours(now: datetime) -> tuple[datetime, datetime]:
    """The first hours of "24h" and of "7d"."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour - timedelta(hours=24), hour - timedelta(hours=168)


def user_usage(user_id: int, *, now: datetime | None = None) -> UsageTotals:
    """A user's totals up to the last answered request."""
    day_ago, week_ago = recent_hours(now or timezone.now())
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
                   (SELECT last_id FROM usage_recorderposition WHERE id = 1)
              FROM usage_hourlyusage
             WHERE user_id = %(user)s
            """,
            {"user": user_id, "day": day_ago, "week": week_ago},
        )
        *sums, position = cursor.fetchone()
        pending = pending_requests(user_id, after=position)
    totals = [int(value) for value in sums]
    return {
        "total_requests": totals[0] + len(pending),
        "requests_last_24h": totals[1] + sum(at >= day_ago for at in pending),
        "requests_last_7d": totals[2] + sum(at >= week_ago for at in pending),
        "tokens": TokenTotals(*totals[3:]).as_body(),
    }


def daily_usage(user_id: int, *, days: int, now: datetime | None = None) -> list[DayUsageOutput]:
    """A user's last `days` days (UTC) up to the last answered request, the oldest first, today last."""
    today = (now or timezone.now()).astimezone(UTC).date()
    first = today - timedelta(days=days - 1)
    with one_snapshot(), connection.cursor() as cursor:
        # Each row, one per day, contains the position.
        cursor.execute(
            """
            WITH used AS (
                SELECT (hour AT TIME ZONE 'UTC')::date AS date, sum(requests) AS requests,
                       sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
                  FROM usage_hourlyusage
                 WHERE user_id = %(user)s AND hour >= %(since)s
                 GROUP BY 1
            )
            SELECT day::date, coalesce(requests, 0), coalesce(input_tokens, 0), coalesce(output_tokens, 0),
                   (SELECT last_id FROM usage_recorderposition WHERE id = 1)
              FROM generate_series(%(first)s::timestamp, %(today)s::timestamp, interval '1 day') AS day
              LEFT JOIN used ON date = day::date
             ORDER BY day
            """,
            {"user": user_id, "since": datetime.combine(first, time(), UTC), "first": first, "today": today},
        )
        rows = cursor.fetchall()
        pending = Counter(at.date() for at in pending_requests(user_id, after=rows[0][-1]))
    return [
        {
            "date": day,
            "requests": int(requests) + pending[day],
            "input": int(input_tokens),
            "output": int(output_tokens),
            "total": int(input_tokens) + int(output_tokens),
        }
        for day, requests, input_tokens, output_tokens, _ in rows
    ]
