"""Budgets: how many tokens a user or an organization may use in a month or a day (UTC), and how many remain.

Calls take tokens from budgets in `usage.ledger.entries`, the only module whose statements change a `Spending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, TypedDict

from django.conf import settings
from django.utils import timezone

from accounts.audit import record_event
from accounts.models import AuditEvent, Organization, User
from edgechat.errors import ApiError
from edgechat.http.bodies import Keywords
from edgechat.http.client_address import Caller
from usage.models import Budget, Spending
from usage.serializers import QuotaOutput

Period = Literal["month", "day"]
Subject = Literal["user", "organization"]

DEFAULT = "default"  # in the audit log, where no budget is set

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
    def name(self) -> str:
        """The name in `context.budget` of an error."""
        return f"{self.subject}_{self.period}"

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
    resets_at: Annotated[datetime, Keywords(example="2026-12-01T00:00:00Z")]


class BudgetExceeded(ApiError):
    """A budget has too little left for the call.

    `spent`: it will still have too little when the running calls have ended.
    """

    status, code = 429, "budget_exceeded"
    detail = "The account's budget of 1000000 tokens a month has not enough left for this"
    context_body = BudgetContext

    def __init__(self, budgets: Sequence[BudgetState], *, needed: int) -> None:
        """`budgets`: all budgets that the call would take from; `needed`: the minimum number of tokens of the call."""
        short = [state for state in budgets if state.limit - state.used - state.reserved < needed]
        spent = [state for state in short if state.remaining < needed]
        self.spent = bool(spent)
        # Of several exceeded budgets, report the one that resets last.
        named = max(spent or short, key=lambda state: (state.resets_at, -state.remaining))
        seconds = (named.resets_at - timezone.now()).total_seconds() if spent else RESERVED_RETRY_SECONDS
        super().__init__(
            f"The {'account' if named.subject == 'user' else 'organization'}'s budget of {named.limit} tokens "
            f"a {named.period} has not enough left for this",
            headers={"Retry-After": str(max(1, int(-(-seconds // 1))))},
            context=BudgetContext(budget=named.name, resets_at=named.resets_at),
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


def budgets_of(subject: User | Organization) -> list[BudgetState]:
    """The budgets of a user or an organization itself, the tightest first."""
    return _states(subject, Spending.objects.filter(**_of(subject)).first())


def _states(subject: User | Organization, spending: Spending | None) -> list[BudgetState]:
    now = timezone.now()
    chosen = dict(Budget.objects.filter(**_of(subject)).values_list("period", "token_limit"))
    kind: Subject = "user" if isinstance(subject, User) else "organization"
    found = []
    period: Period
    for period in ("month", "day"):
        set_limit = chosen[period] if period in chosen else default_limit(period)
        limits = [limit for limit in (set_limit, _unverified_limit(subject, period)) if limit is not None]
        if limits:
            limit = min(limits)
            used, reserved = (0, 0) if spending is None else (used_in(spending, period, now), spending.reserved_tokens)
            found.append(BudgetState(kind, period, limit, used, reserved))
    return sorted(found, key=lambda state: state.remaining)


def _unverified_limit(subject: User | Organization, period: Period) -> int | None:
    """The extra limit of a user whose address is not verified, which no other budget replaces; None: no such limit."""
    if period == "month" and isinstance(subject, User) and not subject.is_verified:
        return settings.UNVERIFIED_TOKEN_LIMIT
    return None


def used_in(spending: Spending, period: Period, now: datetime) -> int:
    """The settled tokens of the current month or day."""
    start = period_start(period, now)
    if period == "month":
        return spending.month_tokens if spending.month == start else 0
    return spending.day_tokens if spending.day == start else 0


def quota_body(subject: User | Organization) -> QuotaOutput:
    """The `quota` of the API: the tightest budget. Without a budget, this month's usage, with null in other fields."""
    spending = Spending.objects.filter(**_of(subject)).first()
    states = _states(subject, spending)
    if states:
        tightest = states[0]
        return {
            "limit": tightest.limit,
            "used": tightest.used,
            "remaining": tightest.remaining,
            "resets_at": tightest.resets_at,
        }
    used = 0 if spending is None else used_in(spending, "month", timezone.now())
    return {"limit": None, "used": used, "remaining": None, "resets_at": None}


def set_budget(*, subject: User | Organization, period: Period, token_limit: int | None) -> None:
    """Limit the tokens of a user or an organization; None: no limit, whatever the default is."""
    Budget.objects.update_or_create(**_of(subject), period=period, defaults={"token_limit": token_limit})


def remove_budget(*, subject: User | Organization, period: Period) -> bool:
    """Restore the default; False if there was no budget."""
    return Budget.objects.filter(**_of(subject), period=period).delete()[0] > 0


def limit_of(subject: User | Organization, period: Period) -> int | str | None:
    """The limit of a budget for the audit log, locked: tokens, None for no limit, `default` without a budget."""
    found = Budget.objects.select_for_update().filter(**_of(subject), period=period).first()
    return DEFAULT if found is None else found.token_limit


def record_budget(
    budget: Budget,
    limit: int | str | None,
    *,
    before: int | str | None,
    caller: Caller | None = None,
    actor_id: int | None = None,
) -> None:
    """Write a change of a budget to the audit log: tokens, None for no limit, `default` without a budget."""
    organization = {} if budget.organization_id is None else {"organization": budget.organization_id}
    record_event(
        AuditEvent.Event.BUDGET_SET,
        caller=caller,
        user_id=budget.user_id,
        actor_id=actor_id,
        period=budget.period,
        limit=limit,
        before={"limit": before},
        after={"limit": limit},
        **organization,
    )


def _of(subject: User | Organization) -> dict[str, Any]:
    return {"user": subject} if isinstance(subject, User) else {"organization": subject}
