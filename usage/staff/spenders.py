"""Who spent what: the costs, requests and failures of users in a span of days."""

# ruff: noqa: S608  (statements are put together from constants)

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Sum

from accounts.models import Organization, User
from usage.ledger.statements import PAID_MODEL
from usage.models import UserDay
from usage.staff.filters import REFUSED
from usage.staff.queries import Costs
from usage.staff.reasons import REFUSALS
from usage.staff.spans import Span

FAILURES = 50
_REFUSED: dict[str, Any] = {"refused": REFUSED, "refusals": list(REFUSALS)}

_DAYS = "date BETWEEN %(first)s AND %(last)s"
# The order needs the days of all users, and one index has what it needs of them; the other sums are of the found users.
# Sums as floating point (exact up to 2**53) need half the time and memory.
_USERS = f"""
    SELECT user_id, email, counted.*
      FROM (SELECT user_id, sum(cost_micros::float8) AS cost, sum((input_tokens + output_tokens)::float8) AS tokens
              FROM usage_userday
             WHERE {_DAYS} AND calls > 0
             GROUP BY user_id
             ORDER BY cost DESC, tokens DESC, user_id
             LIMIT %(rows)s) AS spent
     CROSS JOIN LATERAL (
            SELECT sum(calls), sum(unpriced_calls), sum(input_tokens), sum(output_tokens), sum(cost_micros),
                   sum(requests), sum(failed)
              FROM (SELECT * FROM usage_userday AS day WHERE day.user_id = spent.user_id AND {_DAYS}
                     UNION ALL
                    SELECT * FROM usage_userday WHERE spent.user_id IS NULL AND user_id IS NULL AND {_DAYS}) AS days
           ) AS counted
      LEFT JOIN accounts_user AS users ON users.id = user_id
     ORDER BY cost DESC, tokens DESC, user_id
"""

_SPAN = "settled_at >= %(since)s AND settled_at < %(until)s"
_SUMS = """count(*) AS calls, count(*) - count(cost_micros) AS unpriced, sum(input_tokens) AS input,
           sum(output_tokens) AS output, coalesce(sum(cost_micros), 0) AS cost"""

_IS_REFUSAL = "(status = %(refused)s OR reason = ANY(%(refusals)s))"
# The sums of days have no reasons.
_REFUSALS = f"""
    SELECT user_id, reason, count(*) FROM usage_requestrecord
     WHERE status >= 400 AND at >= %(since)s AND at < %(until)s AND user_id = ANY(%(users)s) AND {_IS_REFUSAL}
     GROUP BY user_id, reason
     UNION ALL
    SELECT user_id, reason, sum(requests) FROM usage_earlyrefusal
     WHERE hour >= %(since)s AND hour < %(until)s AND user_id = ANY(%(users)s)
     GROUP BY user_id, reason
     ORDER BY 3 DESC, 2
"""

_OF_USER = f"""
    SELECT purpose, {PAID_MODEL} AS paid, organization_id, {_SUMS}
      FROM usage_ledgerentry
     WHERE user_id = %(user)s AND {_SPAN}
     GROUP BY GROUPING SETS ((purpose, paid), (organization_id))
     ORDER BY cost DESC, sum(input_tokens + output_tokens) DESC
"""
_FAILURES = f"""
    SELECT status, reason, method, route, count(*), max(at) FROM usage_requestrecord
     WHERE user_id = %(user)s AND status >= 400 AND at >= %(since)s AND at < %(until)s
     GROUP BY status, reason, method, route
     ORDER BY {_IS_REFUSAL} DESC, count(*) DESC
     LIMIT %(rows)s
"""


class Spender(NamedTuple):
    """`refusals`: (reason, number of requests), the most frequent first. `failed` includes them, except those that were
    refused before the user was checked (EARLY), which are not in `requests` either.

    `user_id` is None for all deleted accounts and for calls without a user.
    """

    user_id: int | None
    email: str | None
    costs: Costs
    requests: int
    refusals: list[tuple[str, int]]
    failed: int

    @property
    def refused(self) -> int:
        return sum(count for _, count in self.refusals)


class Failure(NamedTuple):
    status: int
    reason: str
    method: str
    route: str
    times: int
    last: datetime


class Spent(NamedTuple):
    """What one user spent: `on` is (purpose, model, costs), `organizations` is (id, name, costs), the dearest first.

    `refusals`: as in Spender. `failures`: at most FAILURES, the refused first, then the most frequent.
    """

    total: Costs
    on: list[tuple[str, str, Costs]]
    organizations: list[tuple[int, str, Costs]]
    requests: int
    refusals: list[tuple[str, int]]
    failures: list[Failure]


def spenders(span: Span, *, rows: int) -> list[Spender]:
    """The users whose calls cost the most, at most `rows`."""
    with connection.cursor() as cursor:
        cursor.execute(_USERS, {"first": span.first, "last": span.last, "rows": rows})
        found = cursor.fetchall()
        refusals = _refusals(cursor, span, [user_id for user_id, *_ in found if user_id is not None])
    return [
        Spender(user_id, email, Costs(*map(int, costs)), int(requests), refusals.get(user_id, []), int(failed))
        for user_id, email, *costs, requests, failed in found
    ]


def _refusals(cursor: Any, span: Span, users: list[int]) -> dict[int, list[tuple[str, int]]]:
    """The reasons of refusals with their numbers, by user."""
    found: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    cursor.execute(_REFUSALS, {"users": users, "since": span.since, "until": span.until, **_REFUSED})
    for user_id, reason, count in cursor.fetchall():
        found[user_id].append((reason, int(count)))
    return found


def spent_by(user: User, span: Span) -> Spent:
    within: dict[str, Any] = {"user": user.pk, "since": span.since, "until": span.until}
    on: list[tuple[str, str, Costs]] = []
    by_organization: list[tuple[int | None, Costs]] = []
    with connection.cursor() as cursor:
        cursor.execute(_OF_USER, within)
        for purpose, model, organization_id, *sums in cursor.fetchall():
            costs = Costs(*map(int, sums))
            if purpose is not None:
                on.append((purpose, model, costs))
            else:
                by_organization.append((organization_id, costs))
        refusals = _refusals(cursor, span, [user.pk]).get(user.pk, [])
        cursor.execute(_FAILURES, {**within, **_REFUSED, "rows": FAILURES})
        failures = [Failure(*row) for row in cursor.fetchall()]
    days = UserDay.objects.filter(user=user, date__range=(span.first, span.last))
    requests = days.aggregate(requests=Sum("requests", default=0))["requests"]
    total = Costs(*map(sum, zip(*(costs for *_, costs in on), strict=True))) if on else Costs()
    names = dict(Organization.objects.filter(pk__in=[key for key, _ in by_organization]).values_list("pk", "name"))
    organizations = [(key, names.get(key, "Deleted organization"), costs) for key, costs in by_organization if key]
    return Spent(total, on, organizations, requests, refusals, failures)
