"""The ledger: one row for each attempt that reached the model, whatever became of it."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import OperationalError, connection
from django.db.models import CharField, F, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from usage.models import LedgerEntry
from usage.tokens import TokenUsage

logger = structlog.get_logger(__name__)

# What could not be settled because the database was away. If this process ends first, `settle_abandoned` of another
# one settles the row by its estimate.
_deferred: deque[tuple[str, TokenUsage, datetime]] = deque()
_deferred_lock = threading.Lock()


def open_entry(
    *,
    attempt_id: str,
    user_id: int,
    purpose: LedgerEntry.Purpose,
    model: str,
    estimated_input: int,
    organization_id: int | None = None,
) -> None:
    """Write down that a call is about to be made. Raises OperationalError: no call without a row."""
    now = timezone.now()
    LedgerEntry.objects.bulk_create(
        [
            LedgerEntry(
                attempt_id=attempt_id,
                user_id=user_id,
                organization_id=organization_id,
                purpose=purpose,
                model=model,
                input_tokens=estimated_input,
                estimated=True,
                # Twice the longest call, for clocks that differ and settlements that have to wait.
                abandoned_after=now + timedelta(seconds=2 * settings.AI_TIMEOUT_SECONDS + 60),
            )
        ],
        ignore_conflicts=True,
    )


def settle_entry(attempt_id: str, usage: TokenUsage) -> None:
    """Write what the call used, now or as soon as the database is back. The first settlement counts."""
    now = timezone.now()
    try:
        _settle(attempt_id, usage, now)
    except OperationalError:
        logger.warning("settlement_deferred", attempt_id=attempt_id)
        with _deferred_lock:
            _deferred.append((attempt_id, usage, now))


def settle_from_estimate(attempt_id: str, *, output_tokens: int) -> None:
    """Settle the entry of a process that died, if it had opened one, by its estimated input and what had come."""
    opened = LedgerEntry.objects.filter(attempt_id=attempt_id, settled_at=None).values_list("input_tokens", flat=True)
    for input_tokens in opened:
        settle_entry(attempt_id, TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens, estimated=True))


def discard_entry(attempt_id: str) -> None:
    """Take back an entry whose call never reached the model."""
    try:
        LedgerEntry.objects.filter(attempt_id=attempt_id, settled_at=None).delete()
    except OperationalError:
        settle_entry(attempt_id, TokenUsage())


def settle_deferred() -> None:
    """Settle what had to wait for the database."""
    while _deferred:
        with _deferred_lock:
            waiting = _deferred.popleft() if _deferred else None
        if waiting is None:
            return
        try:
            _settle(*waiting)
        except OperationalError:
            with _deferred_lock:
                _deferred.appendleft(waiting)
            return


def settle_abandoned() -> int:
    """Settle, by the estimate made before the call, entries whose process must have died; how many."""
    abandoned = list(
        LedgerEntry.objects.filter(settled_at=None, abandoned_after__lt=timezone.now()).values_list(
            "attempt_id", "input_tokens"
        )[:1000]
    )
    for attempt_id, estimated_input in abandoned:
        _settle(attempt_id, TokenUsage(input_tokens=estimated_input, estimated=True), timezone.now())
    return len(abandoned)


def anonymize_user(user_id: int) -> None:
    """Keep what a deleted user's calls cost, without whose they were: attempt ids name conversations."""
    LedgerEntry.objects.filter(user_id=user_id).update(
        user=None, attempt_id=Concat(Value("erased:"), Cast(F("id"), CharField()))
    )


def _settle(attempt_id: str, usage: TokenUsage, at: datetime) -> None:
    """Settle once and add to the hour's tokens, in one statement: what is half done can't be seen or left behind."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH settled AS (
                UPDATE usage_ledgerentry
                   SET input_tokens = %(input)s, output_tokens = %(output)s, cached_tokens = %(cached)s,
                       thinking_tokens = %(thinking)s, estimated = %(estimated)s, settled_at = %(at)s
                 WHERE attempt_id = %(attempt_id)s AND settled_at IS NULL
                RETURNING user_id
            )
            INSERT INTO usage_hourlyusage (user_id, hour, requests, input_tokens, output_tokens)
            SELECT user_id, date_trunc('hour', %(at)s, 'UTC'), 0, %(input)s, %(output)s
              FROM settled
             WHERE user_id IS NOT NULL
            ON CONFLICT (user_id, hour) DO UPDATE
               SET input_tokens = usage_hourlyusage.input_tokens + excluded.input_tokens,
                   output_tokens = usage_hourlyusage.output_tokens + excluded.output_tokens
            """,
            {
                "input": usage.input_tokens,
                "output": usage.output_tokens,
                "cached": min(usage.cached_tokens, usage.input_tokens),
                "thinking": min(usage.thinking_tokens, usage.output_tokens),
                "estimated": usage.estimated,
                "at": at,
                "attempt_id": attempt_id,
            },
        )
