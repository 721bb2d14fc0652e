"""The ledger: one row for each attempt that reached the model, whatever its result, and its effect on budgets.

Opening an entry reserves the highest possible cost of its call. Settling the entry takes the actual cost; discarding it
releases the reservation. Each is one statement, which locks the `Spending` of the user and of the organization in the
order of their ids. The statement reads these rows after it has the locks, so simultaneous calls cannot exceed a budget.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, OperationalError, connection
from django.db.models import CharField, F, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from accounts.models import Organization
from accounts.open_calls.live_accounts import is_deleted
from edgechat.errors import NotAuthenticated, StoreUnavailable
from edgechat.processes import periodic
from usage import processes
from usage.ledger.budgets import BudgetExceeded, BudgetState, default_limit, period_start
from usage.ledger.prices import COST_OF_ENTRY
from usage.ledger.tokens import TokenUsage
from usage.models import LedgerEntry, Spending

logger = structlog.get_logger(__name__)

# Settlements, and discards (None), that failed because the database was down, with the model that answered. If this
# process ends first, another one's `settle_abandoned` settles the row by its estimate.
_deferred: deque[tuple[str, TokenUsage | None, str]] = deque()
_deferred_lock = threading.Lock()
# Each request of an outage may add one. Settlements need no limit: there are only as many as open calls.
MAX_DEFERRED_OPENINGS = 10_000

# Without any limit, least() returns its first argument, the requested output.
_OPEN = """
    WITH account AS (
        SELECT id, user_id, organization_id, reserved_tokens,
               CASE WHEN month = %(month)s THEN month_tokens ELSE 0 END AS month_tokens,
               CASE WHEN day = %(day)s THEN day_tokens ELSE 0 END AS day_tokens
          FROM usage_spending
         WHERE user_id = %(user)s OR organization_id = %(organization)s
         ORDER BY id
           FOR UPDATE
    ), budget AS (
        SELECT CASE WHEN account.user_id IS NULL THEN 'organization' ELSE 'user' END AS subject, period.name,
               least(CASE WHEN chosen.id IS NULL THEN period.usual ELSE chosen.token_limit END, period.unverified)
                   AS token_limit,
               period.used, account.reserved_tokens AS reserved
          FROM account
         CROSS JOIN LATERAL (
                VALUES ('month', account.month_tokens, %(monthly_limit)s::bigint,
                        (SELECT %(unverified_limit)s::bigint
                           FROM accounts_user WHERE id = account.user_id AND NOT is_verified)),
                       ('day', account.day_tokens, NULL, NULL)
               ) AS period (name, used, usual, unverified)
          LEFT JOIN usage_budget AS chosen
            ON chosen.period = period.name
           AND (chosen.user_id = account.user_id OR chosen.organization_id = account.organization_id)
    ), room AS (
        SELECT least(%(output)s, min(token_limit - used - reserved) - %(input)s) AS output FROM budget
    ), opened AS (
        INSERT INTO usage_ledgerentry (
               attempt_id, user_id, organization_id, purpose, model, input_tokens, output_tokens, cached_tokens,
               thinking_tokens, estimated, reserved_tokens, opened_at, holder, abandoned_after, answered_by)
        SELECT %(attempt_id)s, %(user)s, %(organization)s, %(purpose)s, %(model)s, %(input)s, 0, 0,
               0, true, %(input)s + room.output, %(now)s, %(holder)s, %(abandoned_after)s, ''
          FROM room
         WHERE room.output > 0 AND (SELECT count(*) FROM account) = %(accounts)s
        RETURNING reserved_tokens
    ), reserved AS (
        UPDATE usage_spending
           SET reserved_tokens = usage_spending.reserved_tokens + opened.reserved_tokens
          FROM account, opened
         WHERE usage_spending.id = account.id
    )
    SELECT (SELECT count(*) FROM account), room.output,
           (SELECT json_agg(json_build_array(subject, name, token_limit, used, reserved))
              FROM budget WHERE token_limit IS NOT NULL AND room.output <= 0)
      FROM room
"""

_ACCOUNT = """account AS (
        SELECT spending.id, closed.reserved_tokens
          FROM usage_spending AS spending, closed
         WHERE spending.user_id = closed.user_id OR spending.organization_id = closed.organization_id
         ORDER BY spending.id
           FOR UPDATE OF spending
    )"""

# The count of a past month or day restarts, unless the clock of another process is ahead of this one's.
_TAKE_FROM_SPENDING = """
    UPDATE usage_spending
       SET reserved_tokens = greatest(0, usage_spending.reserved_tokens - account.reserved_tokens),
           month_tokens = CASE WHEN month < %(month)s THEN %(total)s ELSE month_tokens + %(total)s END,
           month = greatest(month, %(month)s),
           day_tokens = CASE WHEN day < %(day)s THEN %(total)s ELSE day_tokens + %(total)s END,
           day = greatest(day, %(day)s)
      FROM account
     WHERE usage_spending.id = account.id
"""

_SETTLE = f"""
    WITH closed AS (
        UPDATE usage_ledgerentry AS entry
           SET input_tokens = %(input)s, output_tokens = %(output)s, cached_tokens = %(cached)s,
               thinking_tokens = %(thinking)s, estimated = %(estimated)s, settled_at = %(now)s,
               attempt_id = CASE WHEN user_id IS NULL AND purpose <> 'check' THEN 'erased:' || entry.id
                                 ELSE attempt_id END,
               answered_by = %(answered_by)s, cost_micros = ({COST_OF_ENTRY})
         WHERE attempt_id = %(attempt_id)s AND settled_at IS NULL
        RETURNING user_id, organization_id, reserved_tokens
    ), {_ACCOUNT}, spent AS (
        {_TAKE_FROM_SPENDING}
    ), of_organization AS (
        INSERT INTO usage_organizationusage (organization_id, user_id, hour, input_tokens, output_tokens)
        SELECT organization_id, user_id, date_trunc('hour', %(now)s, 'UTC'), %(input)s, %(output)s
          FROM closed
         WHERE organization_id IS NOT NULL
        ON CONFLICT (organization_id, user_id, hour) DO UPDATE
           SET input_tokens = usage_organizationusage.input_tokens + excluded.input_tokens,
               output_tokens = usage_organizationusage.output_tokens + excluded.output_tokens
    )
    INSERT INTO usage_hourlyusage (user_id, hour, requests, input_tokens, output_tokens)
    SELECT user_id, date_trunc('hour', %(now)s, 'UTC'), 0, %(input)s, %(output)s
      FROM closed
     WHERE user_id IS NOT NULL
    ON CONFLICT (user_id, hour) DO UPDATE
       SET input_tokens = usage_hourlyusage.input_tokens + excluded.input_tokens,
           output_tokens = usage_hourlyusage.output_tokens + excluded.output_tokens
"""  # noqa: S608  (constants)

_DISCARD = f"""
    WITH closed AS (
        DELETE FROM usage_ledgerentry WHERE attempt_id = %(attempt_id)s AND settled_at IS NULL
        RETURNING user_id, organization_id, reserved_tokens
    ), {_ACCOUNT}
    {_TAKE_FROM_SPENDING}
"""  # noqa: S608

_ABANDONED = """
    SELECT attempt_id, input_tokens, purpose, user_id, abandoned_after < now()
      FROM usage_ledgerentry AS entry
      LEFT JOIN usage_ledgerholder AS maker ON maker.name = entry.holder
     WHERE settled_at IS NULL
       AND (abandoned_after < now()
            OR (entry.holder <> '' AND (maker.name IS NULL OR maker.dead)))
     LIMIT 1000
"""

_FORGET_MEMBER = """
    WITH known AS (
        DELETE FROM usage_organizationusage WHERE user_id = %(user)s
        RETURNING organization_id, hour, input_tokens, output_tokens
    )
    INSERT INTO usage_organizationusage (organization_id, user_id, hour, input_tokens, output_tokens)
    SELECT organization_id, NULL, hour, input_tokens, output_tokens FROM known
     ORDER BY organization_id, hour
    ON CONFLICT (organization_id, user_id, hour) DO UPDATE
       SET input_tokens = usage_organizationusage.input_tokens + excluded.input_tokens,
           output_tokens = usage_organizationusage.output_tokens + excluded.output_tokens
"""


@dataclass(frozen=True)
class OpenEntry:
    """An entry for a call that may now be made, and the limit of the call's output tokens."""

    attempt_id: str
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
    opening = partial(
        _open,
        attempt_id=attempt_id,
        user_id=user_id,
        purpose=purpose,
        model=model,
        input_tokens=input_tokens,
        max_output_tokens=max_output_tokens,
    )
    try:
        try:
            return opening(organization_id=organization_id)
        except IntegrityError:
            if user_id is not None and is_deleted(user_id):
                raise NotAuthenticated from None
            if organization_id is None or Organization.objects.filter(pk=organization_id).exists():
                raise
        return opening(organization_id=None)
    except OperationalError:
        # The row may exist: perhaps only the database's answer was lost.
        if len(_deferred) < MAX_DEFERRED_OPENINGS:
            _defer(attempt_id, None)
        raise


def _open(
    *,
    attempt_id: str,
    user_id: int | None,
    purpose: LedgerEntry.Purpose,
    model: str,
    input_tokens: int,
    max_output_tokens: int,
    organization_id: int | None,
) -> OpenEntry:
    now = timezone.now()
    accounts = [
        Spending(**{column: subject_id}, month=period_start("month", now), day=period_start("day", now))
        for column, subject_id in (("user_id", user_id), ("organization_id", organization_id))
        if subject_id is not None
    ]
    values = {
        "attempt_id": attempt_id,
        "user": user_id,
        "organization": organization_id,
        "purpose": purpose.value,
        "model": model,
        "input": input_tokens,
        "output": max_output_tokens,
        "month": period_start("month", now),
        "day": period_start("day", now),
        "monthly_limit": default_limit("month"),
        "unverified_limit": settings.UNVERIFIED_TOKEN_LIMIT,
        "accounts": len(accounts),
        "now": now,
        "holder": processes.this_process() if periodic.is_started() else "",  # a command has no lease to renew
        # Twice the longest call, to allow for clock differences and deferred settlements.
        "abandoned_after": now + timedelta(seconds=2 * settings.AI_TIMEOUT_SECONDS + 60),
    }
    found, output, short = _one_row(_OPEN, values)
    if found < len(accounts):  # the first call of the user or the organization
        Spending.objects.bulk_create(accounts, ignore_conflicts=True)
        found, output, short = _one_row(_OPEN, values)
        if found < len(accounts):
            raise IntegrityError("An account or an organization was deleted while its call was opened")
    if output <= 0:
        raise BudgetExceeded([BudgetState(*budget) for budget in short], needed=input_tokens + 1)
    return OpenEntry(attempt_id, output)


def settle_entry(attempt_id: str, usage: TokenUsage, *, answered_by: str = "") -> None:
    """Write what the call used, now or as soon as the database is back. Only the first settlement counts.

    `answered_by`: the model that answered, if it reported its name; it can differ from the requested model.
    """
    _close_or_defer(attempt_id, usage, answered_by)


def settle_from_estimate(attempt_id: str, *, output_tokens: int) -> None:
    """Settle the entry of a dead process, if there is one, by its estimated input and the output so far."""
    opened = LedgerEntry.objects.filter(attempt_id=attempt_id, settled_at=None).values_list("input_tokens", flat=True)
    for input_tokens in opened:
        settle_entry(attempt_id, TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens, estimated=True))


def discard_entry(attempt_id: str) -> None:
    """Discard an entry whose call never reached the model, with its reservation; later if the database is down."""
    _close_or_defer(attempt_id, None)


def settle_deferred() -> None:
    """Settle and discard the entries that were deferred while the database was down."""
    while _deferred:
        with _deferred_lock:
            waiting = _deferred.popleft() if _deferred else None
        if waiting is None:
            return
        try:
            _close(*waiting)
        except OperationalError:
            with _deferred_lock:
                _deferred.appendleft(waiting)
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
    with connection.cursor() as cursor:
        cursor.execute(_ABANDONED)
        abandoned = cursor.fetchall()
    settled = 0
    for attempt_id, estimated_input, purpose, user_id, late in abandoned:
        take_over = _take_overs.get(purpose)
        if take_over is not None and _is_taken_over(take_over, attempt_id, user_id) and not late:
            continue
        _settle(attempt_id, TokenUsage(input_tokens=estimated_input, estimated=True))
        settled += 1
    return settled


def _is_taken_over(take_over: TakeOver, attempt_id: str, user_id: int | None) -> bool:
    try:
        return take_over(attempt_id, user_id)
    except StoreUnavailable:
        return True  # unknown until the store is back


def anonymize_user(user_id: int) -> None:
    """Keep the costs of a deleted user's calls, without the user's identity: attempt ids name conversations.

    Running calls lose their attempt ids when they are settled.
    """
    entries = LedgerEntry.objects.filter(user_id=user_id)
    entries.filter(settled_at=None).update(user=None)
    entries.update(user=None, attempt_id=Concat(Value("erased:"), Cast(F("id"), CharField())))
    _execute(_FORGET_MEMBER, {"user": user_id})


def forget_organization(organization_id: int) -> None:
    """Remove an organization from the entries, in the transaction that deletes it.

    Calls lock their entry first and the spending after it, so entries come before the rows that the deletion cascades
    to. The many settled entries come first, and those of running calls last, so that these are locked only briefly.
    """
    entries = LedgerEntry.objects.filter(organization_id=organization_id)
    entries.exclude(settled_at=None).update(organization=None)
    entries.filter(settled_at=None).update(organization=None)


def _close_or_defer(attempt_id: str, usage: TokenUsage | None, answered_by: str = "") -> None:
    try:
        _close(attempt_id, usage, answered_by)
    except OperationalError:
        logger.warning("settlement_deferred", attempt_id=attempt_id)
        _defer(attempt_id, usage, answered_by)


def _defer(attempt_id: str, usage: TokenUsage | None, answered_by: str = "") -> None:
    with _deferred_lock:
        _deferred.append((attempt_id, usage, answered_by))


def _close(attempt_id: str, usage: TokenUsage | None, answered_by: str) -> None:
    if usage is None:
        _execute(_DISCARD, {"attempt_id": attempt_id, "total": 0, **_periods()})
    else:
        _settle(attempt_id, usage, answered_by)


def _settle(attempt_id: str, usage: TokenUsage, answered_by: str = "") -> None:
    values = {
        "attempt_id": attempt_id,
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": min(usage.cached_tokens, usage.input_tokens),
        "thinking": min(usage.thinking_tokens, usage.output_tokens),
        "total": usage.total_tokens,
        "estimated": usage.estimated,
        "answered_by": answered_by,
        **_periods(),
    }
    try:
        _execute(_SETTLE, values)
    except IntegrityError:  # the account or organization was deleted during the statement; the retry sees the deletion
        _execute(_SETTLE, values)


def _periods() -> dict[str, Any]:
    now = timezone.now()
    return {"now": now, "month": period_start("month", now), "day": period_start("day", now)}


def _execute(statement: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _one_row(statement: str, values: dict[str, Any]) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row: tuple[Any, ...] = cursor.fetchone()
        return row
