"""The ledger: one row for each attempt that reached the model, whatever its result, and its effect on budgets.

Opening an entry reserves the highest possible cost of its call. Settling the entry takes the actual cost; discarding it
releases the reservation. Each is one statement, which locks the `Spending` of the user and of the organization in the
order of their ids. The statement reads these rows after it has the locks, so simultaneous calls cannot exceed a budget.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import CharField, F, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone
from psycopg.types.numeric import Int8

from accounts.audit import record_event
from accounts.models import AuditEvent, Organization, User
from accounts.open_calls.live_accounts import is_deleted
from edgechat.errors import NotAuthenticated, StoreUnavailable
from edgechat.http.client_address import Caller
from edgechat.logs import current_request_id
from edgechat.metrics import catalog, sampling
from edgechat.metrics.labels import model_label
from edgechat.processes import periodic
from edgechat.stores.postgresql.prepared import fetch_row
from usage import processes
from usage.ledger import statements
from usage.ledger.budget_warnings import note_refusal
from usage.ledger.budgets import DEFAULT, BudgetExceeded, BudgetState, Limit, Period, default_limit, period_start
from usage.ledger.queries import limit_of, rows_of
from usage.ledger.tokens import TokenUsage
from usage.models import Budget, LedgerEntry, Spending

logger = structlog.get_logger(__name__)

# Settlements, and discards (None), that failed because the database was down, with the model that answered. If this
# process ends first, another one's `settle_abandoned` settles the row by its estimate.
_deferred: deque[tuple[str, TokenUsage | None, str]] = deque()
sampling.register(lambda: catalog.settlements_deferred.set(len(_deferred)))
# Each request of an outage may add one. Settlements need no limit: there are only as many as open calls.
MAX_DEFERRED_OPENINGS = 10_000


@dataclass(frozen=True)
class OpenEntry:
    """An entry for a call that may now be made, and the limit of the call's output."""

    max_output_tokens: int


def open_entry(
    *,
    attempt_id: str,
    user_id: int | None,
    purpose: LedgerEntry.Purpose,
    model: str,
    input_tokens: int,
    max_output_tokens: int,
    organization_id: int | None = None,
) -> OpenEntry:
    """Write the entry of a call before it is made, and reserve its possible cost.

    The cost is the estimate of the input plus the output, which is reduced to what the budgets have left. If the
    organization has been deleted in the meantime, it does not pay. Raises BudgetExceeded, NotAuthenticated for a
    deleted account, and OperationalError: no call is made without a row.
    """
    values = {
        **_now(),
        "attempt_id": attempt_id,
        "user": user_id,
        "organization": organization_id,
        "purpose": purpose.value,
        "model": model,
        "request_id": current_request_id(),
        "input": input_tokens,
        "output": max_output_tokens,
        "monthly_limit": default_limit("month"),
        "unverified_limit": settings.UNVERIFIED_TOKEN_LIMIT,
        # Twice the longest call, to allow for clock differences and deferred settlements.
        "abandoned_after": timezone.now() + timedelta(seconds=2 * settings.AI_TIMEOUT_SECONDS + 60),
    }
    try:
        values["holder"] = processes.this_process() if periodic.is_started() else ""  # a command has no lease to renew
        try:
            return _open(values)
        except IntegrityError:
            if user_id is not None and is_deleted(user_id):
                raise NotAuthenticated from None
            if organization_id is None or Organization.objects.filter(pk=organization_id).exists():
                raise
        return _open({**values, "organization": None})
    except OperationalError:
        # The row may exist: perhaps only the database's answer was lost.
        if len(_deferred) < MAX_DEFERRED_OPENINGS:
            _deferred.append((attempt_id, None, ""))
        raise


def _open(values: dict[str, Any]) -> OpenEntry:
    payers = [column for column in ("user", "organization") if values[column] is not None]
    values = {**values, "accounts": len(payers)}
    found, output, short = _change(statements.OPEN, values)
    if found < len(payers):  # the first call of the user or the organization
        Spending.objects.bulk_create(
            [Spending(**{f"{payer}_id": values[payer]}, month=values["month"], day=values["day"]) for payer in payers],
            ignore_conflicts=True,
        )
        found, output, short = _change(statements.OPEN, values)
        if found < len(payers):
            raise IntegrityError("An account or an organization was deleted while its call was opened")
    if output <= 0:
        for subject, period, *_ in short:
            note_refusal(subject, values[subject], period)
        refused = BudgetExceeded([BudgetState(*budget) for budget in short], needed=values["input"] + 1)
        catalog.budget_refusals.labels(refused.budget).inc()
        raise refused
    return OpenEntry(output)


def settle_entry(attempt_id: str, usage: TokenUsage | None, *, answered_by: str = "") -> None:
    """Write what the call used, now or as soon as the database is back. Only the first settlement counts.

    `answered_by`: the model that answered, if it reported its name; it can differ from the requested model. `usage`:
    None discards the entry, because its call never reached the model, and releases its reservation.
    """
    try:
        _close(attempt_id, usage, answered_by)
    except OperationalError:
        logger.warning("settlement_deferred", attempt_id=attempt_id)
        _deferred.append((attempt_id, usage, answered_by))


def settle_from_estimate(attempt_id: str, *, output_tokens: int) -> None:
    """Settle the entry of a dead process, if there is one, by its estimated input and the output so far."""
    opened = LedgerEntry.objects.filter(attempt_id=attempt_id, settled_at=None).values_list("input_tokens", flat=True)
    for input_tokens in opened:
        settle_entry(attempt_id, TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens, estimated=True))


def settle_deferred() -> None:
    """Settle and discard the entries that were deferred while the database was down."""
    while _deferred:
        deferred = _deferred.popleft()
        try:
            _close(*deferred)
        except OperationalError:
            _deferred.appendleft(deferred)
            return


TakeOver = Callable[[str, int | None], bool]
_take_overs: dict[str, TakeOver] = {}


def register_take_over(purpose: LedgerEntry.Purpose, take_over: TakeOver) -> None:
    """Register `take_over(attempt_id, user_id)`, called for each open call of this purpose whose process is dead.

    If it returns True, the work that the call belongs to will settle the entry; the estimate settles it only if that
    takes too long. It must be repeatable and may raise StoreUnavailable.
    """
    _take_overs[purpose] = take_over


def settle_abandoned() -> int:
    """Settle the entries of dead processes by the estimate made before the call; returns how many."""
    processes.judge_processes()
    settled = 0
    for attempt_id, estimated_input, purpose, user_id, late in _execute(statements.ABANDONED, {}):
        take_over = _take_overs.get(purpose)
        if take_over is not None and _is_taken_over(take_over, attempt_id, user_id) and not late:
            continue
        _close(attempt_id, TokenUsage(input_tokens=estimated_input, estimated=True))
        settled += 1
    return settled


def _is_taken_over(take_over: TakeOver, attempt_id: str, user_id: int | None) -> bool:
    try:
        return take_over(attempt_id, user_id)
    except StoreUnavailable:
        return True  # unknown until the store is back


def anonymize_user(user_id: int) -> None:
    """Keep the costs of a deleted user's calls, without the user's identity: attempt ids name conversations, and
    clients may choose the ids of requests.

    Running calls lose their attempt ids when they are settled.
    """
    entries = LedgerEntry.objects.filter(user_id=user_id)
    entries.filter(settled_at=None).update(user=None, request_id="")
    entries.update(user=None, request_id="", attempt_id=Concat(Value("erased:"), Cast(F("id"), CharField())))
    _execute(statements.FORGET_MEMBER, {"user": user_id})
    _execute(statements.FORGET_DAYS, {"user": user_id})


def forget_user(*, instance: User, **_: Any) -> None:
    """The same for calls that began after it, in the transaction that deletes the user; a receiver of `pre_delete`."""
    anonymize_user(instance.pk)


def forget_organization(*, instance: Organization, **_: Any) -> None:
    """Remove an organization from the entries, in the transaction that deletes it; a receiver of `pre_delete`.

    Calls lock their entry first and the spending after it, so entries come before the rows that the deletion cascades
    to. The many settled entries come first, and those of running calls last, so that these are locked only briefly.
    """
    entries = LedgerEntry.objects.filter(organization_id=instance.pk)
    entries.exclude(settled_at=None).update(organization=None)
    entries.filter(settled_at=None).update(organization=None)


def _close(attempt_id: str, usage: TokenUsage | None, answered_by: str = "") -> None:
    values = {**_now(), "attempt_id": attempt_id, "total": 0}
    if usage is None:
        _change(statements.DISCARD, values)
        return
    values |= {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": min(usage.cached_tokens, usage.input_tokens),
        "thinking": min(usage.thinking_tokens, usage.output_tokens),
        "total": usage.total_tokens,
        "estimated": usage.estimated,
        "answered_by": answered_by,
    }
    try:
        settled = _change(statements.SETTLE, values)
    except IntegrityError:  # the account or organization was deleted during the statement; the retry sees the deletion
        settled = _change(statements.SETTLE, values)
    if settled is not None:
        _measure(usage, *settled)


def _measure(usage: TokenUsage, purpose: str, model: str, cost_micros: int | None) -> None:
    model = model_label(model)
    for kind in ("input", "output", "cached", "thinking"):
        catalog.model_tokens.labels(purpose, model, kind).inc(getattr(usage, f"{kind}_tokens"))
    if cost_micros is None:
        catalog.model_unpriced.labels(model).inc()
    else:
        catalog.model_cost.labels(purpose, model, settings.PRICE_CURRENCY).inc(cost_micros / 10**6)


def _now() -> dict[str, Any]:
    now = timezone.now()
    return {"now": now, "month": period_start("month", now), "day": period_start("day", now)}


def _change(statement: str, values: dict[str, Any]) -> Any:
    """Run a statement of a call. Its row, or None.

    Each combination of types has its own prepared statement, and without Int8 a number's size would be its type.
    """
    return fetch_row(statement, {name: Int8(value) if type(value) is int else value for name, value in values.items()})


def _execute(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


@transaction.atomic
def set_budget(
    *,
    subject: User | Organization,
    period: Period,
    token_limit: Limit,
    caller: Caller | None = None,
    actor_id: int | None = None,
) -> None:
    """Limit the tokens of a user or an organization, and write the change to the audit log."""
    before, budget = limit_of(subject, period), {**rows_of(subject), "period": period}
    if token_limit == DEFAULT:
        Budget.objects.filter(**budget).delete()
    else:
        Budget.objects.update_or_create(**budget, defaults={"token_limit": token_limit})
    record_budget(Budget(**budget), token_limit, before=before, caller=caller, actor_id=actor_id)


def record_budget(
    budget: Budget, limit: Limit, *, before: Limit, caller: Caller | None = None, actor_id: int | None = None
) -> None:
    """Write a change of a budget to the audit log."""
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
