"""The usage of users and of organizations, and the ledger of a time span."""

# ruff: noqa: S608  (statements are put together from constants)

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Literal

from django.db import connection
from django.utils import timezone

from accounts.models import Organization, User
from accounts.organizations.queries import access_organization
from accounts.permissions import Action
from usage.ledger.statements import PAID_MODEL
from usage.requests.queries import one_snapshot, pending_requests
from usage.serializers import DayUsageOutput, MemberUsageOutput, TokensUsedOutput, UsageTotals

# There are 500 members at most, and they come first, so this limits the former members.
MAX_LISTED = 1000
ROWS_PER_BATCH = 1000  # of the ledger's report


def tokens_used(input_tokens: int, output_tokens: int, last_24h: int, last_7d: int) -> TokensUsedOutput:
    return {
        "input": input_tokens,
        "output": output_tokens,
        "total": input_tokens + output_tokens,
        "last_24h": last_24h,
        "last_7d": last_7d,
    }


# The columns of `tokens_used`.
_TOKENS = """coalesce(sum(input_tokens), 0) AS input, coalesce(sum(output_tokens), 0) AS output,
               coalesce(sum(input_tokens + output_tokens) FILTER (WHERE hour >= %(day)s), 0) AS last_24h,
               coalesce(sum(input_tokens + output_tokens) FILTER (WHERE hour >= %(week)s), 0) AS last_7d"""

_USER = f"""
    SELECT coalesce(sum(requests), 0),
           coalesce(sum(requests) FILTER (WHERE hour >= %(day)s), 0),
           coalesce(sum(requests) FILTER (WHERE hour >= %(week)s), 0),
           {_TOKENS},
           (SELECT last_id FROM usage_recorderposition WHERE id = 1)
      FROM usage_hourlyusage
     WHERE user_id = %(user)s
"""

# One row for each day; each row repeats the position in the stream.
_DAYS = """
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
"""

_MEMBERS = f"""
    WITH used AS (
        SELECT user_id, {_TOKENS}
          FROM usage_organizationusage
         WHERE organization_id = %(organization)s
         GROUP BY user_id
        HAVING sum(input_tokens + output_tokens) > 0
    ), people AS (
        SELECT users.id, CASE WHEN membership.id IS NOT NULL THEN users.email END AS email,
               input, output, last_24h, last_7d,
               row_number() OVER (ORDER BY membership.id, users.id IS NULL, input + output DESC, users.id) AS place
          FROM used
          FULL JOIN (
              SELECT id, user_id FROM accounts_membership
               WHERE organization_id = %(organization)s AND user_id IS NOT NULL
          ) AS membership USING (user_id)
          LEFT JOIN accounts_user AS users ON users.id = user_id AND users.deletion_requested_at IS NULL
    )
    SELECT CASE WHEN place <= %(listed)s THEN id END AS user_id, CASE WHEN place <= %(listed)s THEN email END AS email,
           coalesce(sum(input), 0), coalesce(sum(output), 0), coalesce(sum(last_24h), 0), coalesce(sum(last_7d), 0)
      FROM people
     GROUP BY 1, 2
     ORDER BY min(place)
"""


def _recent_hours(now: datetime) -> dict[str, datetime]:
    """The first hour of "24h", the current hour and the 24 before it, and of "7d", likewise with 168."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return {"day": hour - timedelta(hours=24), "week": hour - timedelta(hours=168)}


def user_usage(user_id: int, *, now: datetime | None = None) -> UsageTotals:
    """A user's totals up to the last answered request."""
    since = _recent_hours(now or timezone.now())
    with one_snapshot(), connection.cursor() as cursor:
        cursor.execute(_USER, {"user": user_id, **since})
        *sums, position = cursor.fetchone()
        pending = pending_requests(user_id, after=position)
    requests, requests_24h, requests_7d, *tokens = map(int, sums)
    return {
        "total_requests": requests + len(pending),
        "requests_last_24h": requests_24h + sum(at >= since["day"] for at in pending),
        "requests_last_7d": requests_7d + sum(at >= since["week"] for at in pending),
        "tokens": tokens_used(*tokens),
    }


def daily_usage(user_id: int, *, days: int, now: datetime | None = None) -> list[DayUsageOutput]:
    """A user's last `days` days (UTC) up to the last answered request, the oldest first, today last."""
    today = (now or timezone.now()).astimezone(UTC).date()
    first = today - timedelta(days=days - 1)
    with one_snapshot(), connection.cursor() as cursor:
        cursor.execute(
            _DAYS, {"user": user_id, "since": datetime.combine(first, time(), UTC), "first": first, "today": today}
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


def organization_usage(
    *, user: User, organization_id: int
) -> tuple[Organization, TokensUsedOutput, list[MemberUsageOutput]]:
    """The usage of an organization and of each of its members, for its owners and admins.

    Members come in the order in which they were added, then former members with usage, the most tokens first, then
    deleted accounts. Raises OrganizationNotFound and PermissionDenied. The time grows with the number of hours in which
    members used tokens, not with the number of calls.
    """
    access = access_organization(user=user, organization_id=organization_id)
    access.require(Action.READ_USAGE)
    with connection.cursor() as cursor:
        cursor.execute(
            _MEMBERS, {"organization": organization_id, "listed": MAX_LISTED, **_recent_hours(timezone.now())}
        )
        rows = [(user_id, email, [int(value) for value in sums]) for user_id, email, *sums in cursor.fetchall()]
    total = [sum(values) for values in zip(*(sums for *_, sums in rows), strict=True)] or [0] * 4
    members: list[MemberUsageOutput] = [
        {"user_id": user_id, "email": email, "tokens": tokens_used(*sums)} for user_id, email, sums in rows
    ]
    return access.organization, tokens_used(*total), members


Grouping = Literal["user", "organization", "purpose", "model"]


@dataclass(frozen=True)
class ReportRow:
    """`id`: the id of an organization, because names of organizations are not unique.

    `name`: an e-mail, an organization, a purpose or the model that answered; None for deleted accounts and
    organizations, and for calls without an organization. `requests`: to the API, by this user; None for other
    groupings, which request counts do not have. `cost_micros`: of the calls with a price, in millionths of its
    currency.
    """

    id: int | None
    name: str | None
    requests: int | None
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    thinking_tokens: int
    cost_micros: int
    unpriced_calls: int

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


_SUMS = """
    count(*) AS calls, sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cached_tokens) AS cached,
    sum(thinking_tokens) AS thinking, coalesce(sum(cost_micros), 0) AS cost,
    count(*) FILTER (WHERE cost_micros IS NULL) AS unpriced
"""
_SPAN = "settled_at >= %(since)s AND settled_at < %(until)s"

_BY_USER = f"""
    SELECT NULL, users.email, coalesce(requests, 0), coalesce(calls, 0), coalesce(input, 0), coalesce(output, 0),
           coalesce(cached, 0), coalesce(thinking, 0), coalesce(cost, 0), coalesce(unpriced, 0)
      FROM (SELECT user_id, {_SUMS} FROM usage_ledgerentry WHERE {_SPAN} GROUP BY user_id) AS ledger
      FULL JOIN (SELECT user_id, sum(requests) AS requests
                   FROM usage_hourlyusage WHERE hour >= %(since)s AND hour < %(until)s
                  GROUP BY user_id HAVING sum(requests) > 0) AS hourly USING (user_id)
      LEFT JOIN accounts_user AS users ON users.id = user_id
     ORDER BY coalesce(input, 0) + coalesce(output, 0) DESC, coalesce(requests, 0) DESC, user_id
"""
_BY_ORGANIZATION = f"""
    SELECT organization_id, organizations.name, NULL, calls, input, output, cached, thinking, cost, unpriced
      FROM (SELECT organization_id, {_SUMS} FROM usage_ledgerentry WHERE {_SPAN} GROUP BY organization_id) AS ledger
      LEFT JOIN accounts_organization AS organizations ON organizations.id = organization_id
     ORDER BY input + output DESC, organization_id
"""
_BY_KIND = f"""
    SELECT NULL, {{kind}} AS kind, NULL, {_SUMS}
      FROM usage_ledgerentry WHERE {_SPAN}
     GROUP BY kind ORDER BY sum(input_tokens) + sum(output_tokens) DESC, kind
"""
_QUERIES: dict[Grouping, str] = {
    "user": _BY_USER,
    "organization": _BY_ORGANIZATION,
    "purpose": _BY_KIND.format(kind="purpose"),
    "model": _BY_KIND.format(kind=PAID_MODEL),
}


def ledger_report(*, by: Grouping, since: datetime, until: datetime) -> Iterator[ReportRow]:
    """The sums of settled calls and answered requests from `since` to before `until`, the most tokens first.

    PostgreSQL returns a thousand rows at a time, so memory does not grow with their number.
    """
    with connection.chunked_cursor() as cursor:
        cursor.execute(_QUERIES[by], {"since": since, "until": until})
        while rows := cursor.fetchmany(ROWS_PER_BATCH):
            for key, name, requests, *sums in rows:
                counted = None if requests is None else int(requests)
                yield ReportRow(key, name, counted, *(int(value) for value in sums))
