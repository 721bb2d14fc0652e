"""E-mails about budgets of which 80 percent is used, or all: to the user, or to the owners of the organization.

A periodic task of every process sends them, so no call to the model waits for them. Each is sent once in a period: the
process that adds its `BudgetWarning` sends it. If that process ends in the same moment, it is not sent. Without
EMAIL_URL none is sent, and none to an address that is not verified: it may be that of somebody else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.models import Membership, Organization, User
from accounts.recovery.emails import send_notice
from usage.ledger.budgets import Period, Subject, default_limit, period_end, period_start
from usage.ledger.queries import NEAR
from usage.models import BudgetWarning

# In one round of one process; the other ones follow in the next rounds.
WARNINGS_AT_A_TIME = 20
MAX_OWNERS = 20
KEPT = timedelta(days=62)
MAX_REFUSED = 10_000

_refused: set[str] = set()

# Of several limits of one budget the lowest counts. Like the list of the fullest budgets, this reads the budgets that
# are set, and for the others the index on the month's tokens.
_CLAIM = """
    WITH limited AS (
        SELECT budget.user_id, budget.organization_id, budget.period, budget.token_limit,
               CASE WHEN budget.period = 'month' AND spending.month = %(month)s THEN month_tokens
                    WHEN budget.period = 'day' AND spending.day = %(day)s THEN day_tokens
                    ELSE 0 END AS used
          FROM usage_budget AS budget
          JOIN usage_spending AS spending ON spending.user_id = budget.user_id
         WHERE budget.token_limit > 0
         UNION ALL
        SELECT budget.user_id, budget.organization_id, budget.period, budget.token_limit,
               CASE WHEN budget.period = 'month' AND spending.month = %(month)s THEN month_tokens
                    WHEN budget.period = 'day' AND spending.day = %(day)s THEN day_tokens
                    ELSE 0 END
          FROM usage_budget AS budget
          JOIN usage_spending AS spending ON spending.organization_id = budget.organization_id
         WHERE budget.token_limit > 0
         UNION ALL
        SELECT user_id, organization_id, 'month', %(default)s::bigint, month_tokens
          FROM usage_spending AS spending
         WHERE spending.month = %(month)s AND month_tokens >= %(default_near)s::bigint
           AND NOT EXISTS (SELECT FROM usage_budget AS budget
                            WHERE budget.user_id = spending.user_id AND budget.period = 'month')
           AND NOT EXISTS (SELECT FROM usage_budget AS budget
                            WHERE budget.organization_id = spending.organization_id AND budget.period = 'month')
    ), near AS (
        SELECT user_id, organization_id, period, min(token_limit) AS token_limit, max(used) AS used
          FROM limited
         WHERE used >= %(near)s::float8 * token_limit
         GROUP BY user_id, organization_id, period
    ), due AS (
        SELECT *, CASE WHEN period = 'month' THEN %(month)s::date ELSE %(day)s::date END AS begins,
               CASE WHEN used >= token_limit
                      OR concat_ws(' ', user_id, 'user', period) = ANY(%(refused)s)
                      OR concat_ws(' ', organization_id, 'organization', period) = ANY(%(refused)s)
                    THEN 100 ELSE %(percent)s END AS percent
          FROM near
    ), chosen AS (
        SELECT user_id, organization_id, period, begins, percent, token_limit, used
          FROM due
         WHERE NOT EXISTS (SELECT FROM usage_budgetwarning AS earlier
                            WHERE (earlier.user_id = due.user_id OR earlier.organization_id = due.organization_id)
                              AND earlier.period = due.period AND earlier.begins = due.begins
                              AND earlier.percent >= due.percent)
           AND (due.user_id IS NULL
                OR EXISTS (SELECT FROM accounts_user AS users WHERE users.id = due.user_id AND users.is_verified))
         ORDER BY user_id, organization_id, period
         LIMIT %(rows)s
    ), claimed AS (
        INSERT INTO usage_budgetwarning (user_id, organization_id, period, begins, percent)
        SELECT user_id, organization_id, period, begins, percent
          FROM chosen
        ON CONFLICT DO NOTHING
        RETURNING user_id, organization_id, period
    )
    SELECT chosen.user_id, chosen.organization_id, chosen.period, chosen.token_limit, chosen.used, chosen.percent,
           claimed.period IS NOT NULL
      FROM chosen
      LEFT JOIN claimed ON claimed.period = chosen.period
       AND (claimed.user_id = chosen.user_id OR claimed.organization_id = chosen.organization_id)
"""


@dataclass(frozen=True)
class Warned:
    """A budget of a user or of an organization, about which this process sends the e-mail."""

    user_id: int | None
    organization_id: int | None
    period: Period
    limit: int
    used: int
    percent: int


def note_refusal(subject: Subject, subject_id: int, period: Period) -> None:
    """A call was refused because too little of this budget is left, so it is used up although some tokens remain."""
    if len(_refused) < MAX_REFUSED:
        _refused.add(_name(subject, subject_id, period))


def _name(subject: Subject, subject_id: int | None, period: Period) -> str:
    return f"{subject_id} {subject} {period}"


def warn_of_budgets() -> None:
    if not settings.EMAIL_URL:
        return
    now = timezone.now()
    for warned in _claim(now):
        _warn(warned, now)


def _claim(now: datetime) -> list[Warned]:
    refused = list(_refused)
    default = default_limit("month")
    BudgetWarning.objects.filter(begins__lt=(now - KEPT).date()).delete()
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "month": period_start("month", now),
                "day": period_start("day", now),
                "default": default,
                # Whole numbers, because the index cannot serve a comparison with a fraction.
                "default_near": None if default is None else math.ceil(NEAR * default),
                "near": NEAR,
                "percent": round(100 * NEAR),
                "refused": refused,
                "rows": WARNINGS_AT_A_TIME,
            },
        )
        rows = [(Warned(*values), claimed) for *values, claimed in cursor.fetchall()]
    # Those that did not fit into this round are still refused in the next one.
    told = {_name("user", each.user_id, each.period) for each, _ in rows}
    told |= {_name("organization", each.organization_id, each.period) for each, _ in rows}
    _refused.difference_update(refused if len(rows) < WARNINGS_AT_A_TIME else told)
    return [each for each, claimed in rows if claimed]


def _warn(warned: Warned, now: datetime) -> None:
    whose, addresses = _addressees(warned)
    subject = "A budget is used up" if warned.percent == 100 else f"{warned.percent} percent of a budget is used"
    more = "Calls that need more are refused." if warned.percent == 100 else "After the last one, calls are refused."
    text = (
        f"In this {warned.period}, {whose} has used {warned.used:,} of its {warned.limit:,} tokens "
        f"({100 * warned.used // warned.limit} percent). {more} "
        f"The budget begins anew on {period_end(warned.period, now):%Y-%m-%d at %H:%M} UTC.\n"
    )
    for address in addresses:
        send_notice(address, subject, text)


def _addressees(warned: Warned) -> tuple[str, list[str]]:
    """Whose budget it is, in words, and the addresses to write to."""
    if warned.user_id is not None:
        users = User.objects.filter(
            pk__in=[warned.user_id], is_active=True, is_verified=True, deletion_requested_at=None
        )
        return "your account", list(users.values_list("email", flat=True))
    owners = Membership.objects.filter(
        organization_id=warned.organization_id or 0,
        role=Membership.Role.OWNER,
        user__is_active=True,
        user__is_verified=True,
    )
    name = Organization.objects.filter(pk=warned.organization_id or 0).values_list("name", flat=True).first()
    return f"the organization “{name}”", list(owners.order_by("pk").values_list("user__email", flat=True)[:MAX_OWNERS])
