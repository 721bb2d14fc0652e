"""What users and organizations have used of their budgets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.models import Organization, User
from edgechat.metrics import catalog
from usage.ledger.budgets import DEFAULT, BudgetState, Limit, Period, Subject, default_limit, period_start
from usage.ledger.statements import PAID_MODEL
from usage.models import Budget, LedgerEntry, Spending
from usage.serializers import QuotaOutput

# The used fraction from which a budget counts as nearly used up, and the number of budgets to report.
NEAR = 0.8
ROWS = 10


def rows_of(subject: User | Organization) -> dict[str, Any]:
    """The filter for a subject's rows in the tables of budgets and of spending."""
    return {"user" if isinstance(subject, User) else "organization": subject}


# The attempt ids that begin with `started.id` and a colon, by the index for prefixes: a semicolon follows a colon.
_CALLS = f"""
    SELECT started.id, {PAID_MODEL}, request_id
      FROM unnest(%(ids)s::text[]) AS started (id)
      JOIN usage_ledgerentry ON attempt_id ~>=~ (started.id || ':') AND attempt_id ~<~ (started.id || ';')
     WHERE purpose = %(purpose)s
"""  # noqa: S608  (constants)


def calls_of_attempts(ids: list[str], purpose: LedgerEntry.Purpose) -> dict[str, tuple[str, str]]:
    """The model and the request id of each attempt's call; `ids` are attempt ids without their last part."""
    with connection.cursor() as cursor:
        cursor.execute(_CALLS, {"ids": ids, "purpose": purpose.value})
        return {started: (model, request_id) for started, model, request_id in cursor.fetchall()}


def spending_of(subject: User | Organization) -> Spending:
    """What a user or an organization has used. Before its first call, an unsaved row without tokens."""
    return Spending.objects.filter(**rows_of(subject)).first() or Spending()


def used_in(spending: Spending, period: Period) -> int:
    """The settled tokens of the current month or day."""
    start = period_start(period, timezone.now())
    if period == "month":
        return spending.month_tokens if spending.month == start else 0
    return spending.day_tokens if spending.day == start else 0


def budgets_of(subject: User | Organization, spending: Spending) -> list[BudgetState]:
    """The budgets of a user or an organization itself, the tightest first."""
    chosen = dict(Budget.objects.filter(**rows_of(subject)).values_list("period", "token_limit"))
    is_user = isinstance(subject, User)
    found = []
    period: Period
    for period in ("month", "day"):
        limits = [chosen[period] if period in chosen else default_limit(period)]
        if period == "month" and isinstance(subject, User) and not subject.is_verified:
            limits.append(settings.UNVERIFIED_TOKEN_LIMIT)  # no other budget replaces it
        limit = min((limit for limit in limits if limit is not None), default=None)
        if limit is not None:
            used, reserved = used_in(spending, period), spending.reserved_tokens
            found.append(BudgetState("user" if is_user else "organization", period, limit, used, reserved))
    return sorted(found, key=lambda state: state.remaining)


def quota_body(subject: User | Organization) -> QuotaOutput:
    """The `quota` of the API: the tightest budget. Without a budget, this month's usage, with null in other fields."""
    spending = spending_of(subject)
    for state in budgets_of(subject, spending):
        return {
            "limit": state.limit,
            "used": state.used,
            "remaining": state.remaining,
            "resets_at": state.resets_at,
        }
    return {"limit": None, "used": used_in(spending, "month"), "remaining": None, "resets_at": None}


def limit_of(subject: User | Organization, period: Period) -> Limit:
    """The limit that is set for a user or an organization. Locks the budget until the end of the transaction."""
    found = Budget.objects.select_for_update().filter(**rows_of(subject), period=period).first()
    return DEFAULT if found is None else found.token_limit


@dataclass(frozen=True)
class NearBudget:
    """A budget of which at least NEAR is used; `name` is an e-mail address or an organization's name."""

    subject: Subject
    subject_id: int
    name: str
    period: Period
    limit: int
    used: int


# Budgets that are set are scanned and joined to their spending. For users with the default, the index on the month's
# tokens is read in descending order until there are enough.
_FULLEST = """
    WITH chosen AS (
        SELECT budget.user_id, budget.organization_id, period, token_limit,
               CASE WHEN period = 'month' AND spending.month = %(month)s THEN month_tokens
                    WHEN period = 'day' AND spending.day = %(day)s THEN day_tokens
                    ELSE 0 END AS used
          FROM usage_budget AS budget
          JOIN usage_spending AS spending
            ON spending.user_id = budget.user_id OR spending.organization_id = budget.organization_id
         WHERE token_limit > 0
    ), unchosen AS (
        SELECT user_id, organization_id, 'month' AS period, %(default)s::bigint AS token_limit, month_tokens AS used
          FROM usage_spending AS spending
         WHERE spending.month = %(month)s AND month_tokens >= %(default_near)s::bigint
           AND NOT EXISTS (SELECT FROM usage_budget AS budget
                            WHERE budget.user_id = spending.user_id AND budget.period = 'month')
           AND NOT EXISTS (SELECT FROM usage_budget AS budget
                            WHERE budget.organization_id = spending.organization_id AND budget.period = 'month')
         ORDER BY month_tokens DESC
         LIMIT %(rows)s
    ), fullest AS (
        SELECT * FROM chosen WHERE used >= %(near)s::float8 * token_limit
         UNION ALL
        SELECT * FROM unchosen
    )
    SELECT CASE WHEN user_id IS NULL THEN 'organization' ELSE 'user' END, coalesce(user_id, organization_id),
           coalesce(email, name), period, token_limit, used
      FROM (SELECT * FROM fullest ORDER BY used::float8 / token_limit DESC, used DESC LIMIT %(rows)s) AS nearest
      LEFT JOIN accounts_user AS users ON users.id = user_id
      LEFT JOIN accounts_organization AS organizations ON organizations.id = organization_id
     ORDER BY used::float8 / token_limit DESC, used DESC
"""


def measure_open_calls() -> None:
    """Set the metric of calls that are not settled."""
    catalog.calls_open.set(LedgerEntry.objects.filter(settled_at=None).count())


def near_budgets(*, now: datetime | None = None) -> list[NearBudget]:
    """The ROWS budgets with the highest used fraction of at least NEAR, the fullest first."""
    now, default = now or timezone.now(), default_limit("month")
    with connection.cursor() as cursor:
        cursor.execute(
            _FULLEST,
            {
                "month": period_start("month", now),
                "day": period_start("day", now),
                "default": default,
                # A whole number, because the index cannot serve a comparison with a fraction.
                "default_near": None if default is None else math.ceil(NEAR * default),
                "near": NEAR,
                "rows": ROWS,
            },
        )
        return [NearBudget(*row) for row in cursor.fetchall()]
