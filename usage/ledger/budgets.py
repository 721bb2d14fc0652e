"""Budgets: how many tokens a user or an organization may use in a month or a day (UTC), and how many remain.

Calls take tokens from budgets in `usage.ledger.services`, whose statements alone change a `Spending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal, TypedDict

from django.conf import settings
from django.utils import timezone

from edgechat.errors import ApiError
from edgechat.http.bodies import Keywords

Period = Literal["month", "day"]
Subject = Literal["user", "organization"]
# Tokens; None for no limit, whatever the default is; DEFAULT where no budget is set.
Limit = int | Literal["default"] | None
DEFAULT: Literal["default"] = "default"

# The wait for running calls to end and release their reservations; when they end is unknown.
RESERVED_RETRY_SECONDS = 5


@dataclass(frozen=True)
class BudgetState:
    """A budget in its current period. `used` counts settled tokens, `reserved` those of running calls."""

    subject: Subject
    period: Period
    limit: int
    used: int
    reserved: int

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    @property
    def resets_at(self) -> datetime:
        return period_end(self.period, timezone.now())


class BudgetContext(TypedDict):
    budget: Annotated[
        str, "`user_month`, `user_day`, `organization_month` or `organization_day`.", Keywords(example="user_month")
    ]
    resets_at: Annotated[datetime, "When the budget begins anew.", Keywords(example="2026-12-01T00:00:00Z")]


class BudgetExceeded(ApiError):
    """A budget has too little left for the call.

    `spent`: it will still have too little when the running calls have ended.
    """

    status, code = 429, "budget_exceeded"
    sends = ("Retry-After",)
    detail = "The account's budget of 1000000 tokens a month has not enough left for this"
    context_body = BudgetContext

    def __init__(self, budgets: Sequence[BudgetState], *, needed: int) -> None:
        """`budgets`: all budgets that the call would take from; `needed`: the minimum number of tokens of the call."""
        short = [state for state in budgets if state.limit - state.used - state.reserved < needed]
        spent = [state for state in short if state.remaining < needed]
        self.spent = bool(spent)
        # Of several exceeded budgets, report the one that resets last.
        named = max(spent or short, key=lambda state: (state.resets_at, -state.remaining))
        self.budget = f"{named.subject}_{named.period}"
        seconds = (named.resets_at - timezone.now()).total_seconds() if spent else RESERVED_RETRY_SECONDS
        super().__init__(
            f"The {'account' if named.subject == 'user' else 'organization'}'s budget of {named.limit} tokens "
            f"a {named.period} has not enough left for this",
            limit=self.budget,
            headers={"Retry-After": str(max(1, int(-(-seconds // 1))))},
            context=BudgetContext(budget=self.budget, resets_at=named.resets_at),
        )


def period_start(period: Period, moment: datetime) -> date:
    """The first day of the period."""
    day = moment.astimezone(UTC).date()
    return day.replace(day=1) if period == "month" else day


def period_end(period: Period, moment: datetime) -> datetime:
    """The end of the period, which is the start of the next one."""
    start = period_start(period, moment)
    following = (start + timedelta(days=31)).replace(day=1) if period == "month" else start + timedelta(days=1)
    return datetime.combine(following, time(), UTC)


def default_limit(period: Period) -> int | None:
    """The limit where no budget is set; None: no limit."""
    return settings.MONTHLY_TOKEN_LIMIT or None if period == "month" else None
