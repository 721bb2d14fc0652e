"""Who spent what: the costs, requests and failures of users in a span of days."""

# ruff: noqa: S608  (statements are put together from constants)

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from accounts.models import Organization, User
from usage.ledger.statements import PAID_MODEL
from usage.staff.filters import REFUSED
from usage.staff.queries import Costs
from usage.staff.reasons import REFUSALS
from usage.staff.spans import Span

FAILURES = 50
_REFUSED: dict[str, Any] = {"refused": REFUSED, "refusals": list(REFUSALS)}

_SPAN = "settled_at >= %(since)s AND settled_at < %(until)s"
_SUMS = """count(*) AS calls, count(*) - count(cost_micros) AS unpriced, sum(input_tokens) AS input,
           sum(output_tokens) AS output, coalesce(sum(cost_micros), 0) AS cost"""
_DEAREST = "ORDER BY cost DESC, input + output DESC"

_USERS = f"""
    SELECT user_id, email, calls, unpriced, input, output, cost
      FROM (SELECT user_id, {_SUMS} FROM usage_ledgerentry WHERE {_SPAN} GROUP BY user_id
             {_DEAREST.replace("input + output", "sum(input_tokens + output_tokens)")} LIMIT %(rows)s) AS spent
      LEFT JOIN accounts_user AS users ON users.id = user_id
     {_DEAREST}, user_id
"""

# The sums of hours have the requests, and the index of failed requests the others.
_REQUESTS = """
    SELECT user_id, sum(requests) FROM usage_hourlyusage
     WHERE user_id = ANY(%(users)s) AND hour >= %(since)s AND hour < %(until)s
     GROUP BY user_id
"""
_IS_REFUSAL = "(status = %(refused)s OR reason = ANY(%(refusals)s))"
_FAILED = f"""
    SELECT user_id, {_IS_REFUSAL} AS is_refusal, reason, count(*) FROM usage_requestrecord
     WHERE status >= 400 AND at >= %(since)s AND at < %(until)s AND user_id = ANY(%(users)s)
     GROUP BY user_id, is_refusal, reason
     ORDER BY count(*) DESC, reason
"""

_OF_USER = f"""
    SELECT purpose, {PAID_MODEL} AS paid, organization_id, {_SUMS}
      FROM usage_ledgerentry
     WHERE user_id = %(user)s AND {_SPAN}
     GROUP BY GROUPING SETS ((purpose, paid), (organization_id))
     {_DEAREST.replace("input + output", "sum(input_tokens + output_tokens)")}
"""
_FAILURES = f"""
    SELECT status, reason, method, route, count(*), max(at) FROM usage_requestrecord
     WHERE user_id = %(user)s AND status >= 400 AND at >= %(since)s AND at < %(until)s
     GROUP BY status, reason, method, route
     ORDER BY {_IS_REFUSAL} DESC, count(*) DESC
     LIMIT %(rows)s
"""


class Spender(NamedTuple):
    """`refusals`: (reason, number of requests), the most frequent first; `failed` includes them.

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
        within: dict[str, Any] = {"since": span.since, "until": span.until}
        cursor.execute(_USERS, {**within, "rows": rows})
        found = [(user_id, email, Costs(*map(int, sums))) for user_id, email, *sums in cursor.fetchall()]
        within["users"] = [user_id for user_id, *_ in found if user_id is not None]
        cursor.execute(_REQUESTS, within)
        answered: dict[int, int] = {user_id: int(count) for user_id, count in cursor.fetchall()}
        refusals, failed = _failed(cursor, within)
    return [
        Spender(user_id, email, costs, answered.get(user_id, 0), refusals.get(user_id, []), failed.get(user_id, 0))
        for user_id, email, costs in found
    ]


def _failed(cursor: Any, within: dict[str, Any]) -> tuple[dict[int, list[tuple[str, int]]], dict[int, int]]:
    """By user: the reasons of refusals with their numbers, and the number of all failed requests."""
    refusals: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    failed: Counter[int] = Counter()
    cursor.execute(_FAILED, {**within, **_REFUSED})
    for user_id, is_refusal, reason, count in cursor.fetchall():
        failed[user_id] += count
        if is_refusal:
            refusals[user_id].append((reason, count))
    return refusals, failed


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
        cursor.execute(_REQUESTS, {**within, "users": [user.pk]})
        requests = sum(int(count) for _, count in cursor.fetchall())
        refusals = _failed(cursor, {**within, "users": [user.pk]})[0].get(user.pk, [])
        cursor.execute(_FAILURES, {**within, **_REFUSED, "rows": FAILURES})
        failures = [Failure(*row) for row in cursor.fetchall()]
    total = Costs(*map(sum, zip(*(costs for *_, costs in on), strict=True))) if on else Costs()
    names = dict(Organization.objects.filter(pk__in=[key for key, _ in by_organization]).values_list("pk", "name"))
    organizations = [(key, names.get(key, "Deleted organization"), costs) for key, costs in by_organization if key]
    return Spent(total, on, organizations, requests, refusals, failures)
