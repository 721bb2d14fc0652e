"""Finds budgets that are nearly used up, without reading every user."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from django.db import connection
from django.utils import timezone

from usage.ledger.budgets import Period, Subject, default_limit, period_start

# The used fraction from which a budget counts as nearly used up, and the number of budgets to report.
NEAR = 0.8
ROWS = 10


@dataclass(frozen=True)
class NearBudget:
    """A budget of which at least NEAR is used; `name` is an e-mail address or an organization's name."""

    subject: Subject
    subject_id: int
    name: str
    period: Period
    limit: int
    used: int

    @property
    def share(self) -> float:
        return self.used / self.limit


# Budgets that are set are scanned and joined to their spending. For users with the default, the index on the month's
# tokens is read in descending order until there are enough.
_FULLEST = """
    WITH chosen AS (
        SELECT budget.user_id, budget.organization_id, period, token_limit,
               CASE WHEN period = 'month' AND spending.month = %(month)s THEN month_tokens
                    WHEN period = 'day' AND spending.day = %(day)s THEN day_tokens
                    ELSE 0 END AS used
          FROM usage_budget AS budget
          JOIN usage_spending AS spending ON spending.user_id = budget.user_id
         WHERE token_limit > 0
         UNION ALL
        SELECT budget.user_id, budget.organization_id, period, token_limit,
               CASE WHEN period = 'month' AND spending.month = %(month)s THEN month_tokens
                    WHEN period = 'day' AND spending.day = %(day)s THEN day_tokens
                    ELSE 0 END
          FROM usage_budget AS budget
          JOIN usage_spending AS spending ON spending.organization_id = budget.organization_id
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
    SELECT nearest.user_id, nearest.organization_id, coalesce(email, name), period, token_limit, used
      FROM (SELECT * FROM fullest ORDER BY used::float8 / token_limit DESC, used DESC LIMIT %(rows)s) AS nearest
      LEFT JOIN accounts_user AS users ON users.id = nearest.user_id
      LEFT JOIN accounts_organization AS organizations ON organizations.id = nearest.organization_id
     ORDER BY used::float8 / token_limit DESC, used DESC
"""


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
        rows = cursor.fetchall()
    return [
        NearBudget(
            "organization" if user_id is None else "user",
            organization_id if user_id is None else user_id,
            name,
            cast(Period, period),
            limit,
            used,
        )
        for user_id, organization_id, name, period, limit, used in rows
    ]
