"""Stores the sums of requests that were refused before their user was checked (edgechat.http.refusals)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection
from django.utils import timezone

from edgechat.http.refusals import Refusal, restore_refusals, take_refusals
from usage.models import EarlyRefusal
from usage.requests.request_stream import MAX_REASON_CHARACTERS
from usage.requests.services import delete_batches

logger = structlog.get_logger(__name__)

STORE_SECONDS = 5

# One round at a time: a process must not end while another round has its sums.
_storing = threading.Lock()

# The refusals of deleted accounts are left out. All processes write in the same order, so they cannot deadlock.
_ADD = """
    WITH living AS (
        SELECT id FROM accounts_user WHERE id = ANY(%(user_ids)s::bigint[]) ORDER BY id FOR KEY SHARE
    )
    INSERT INTO usage_earlyrefusal AS sums (hour, status, reason, route, user_id, requests)
    SELECT *
      FROM unnest(%(hours)s::timestamptz[], %(statuses)s::smallint[], %(reasons)s::text[], %(routes)s::text[],
                  %(user_ids)s::bigint[], %(requests)s::bigint[])
           AS given (hour, status, reason, route, user_id, requests)
     WHERE user_id IS NULL OR user_id IN (SELECT id FROM living)
     ORDER BY hour, status, reason, route, user_id
    ON CONFLICT (hour, status, reason, route, user_id) DO UPDATE SET requests = sums.requests + excluded.requests
"""
_DELETE = """
    DELETE FROM usage_earlyrefusal
     WHERE id IN (SELECT id FROM usage_earlyrefusal WHERE hour < %s ORDER BY hour LIMIT %s FOR UPDATE SKIP LOCKED)
"""


def store_refusals() -> None:
    """Add what this process has counted to the sums. On an error, what was counted is kept for the next call."""
    with _storing:
        refusals = take_refusals()
        if refusals:
            _store(refusals)


def _store(refusals: dict[Refusal, int]) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                _ADD,
                {
                    "hours": [datetime.fromtimestamp(refusal.hour * 3600, UTC) for refusal in refusals],
                    "statuses": [refusal.status for refusal in refusals],
                    "reasons": [refusal.reason[:MAX_REASON_CHARACTERS] for refusal in refusals],
                    "routes": [refusal.route[:200] for refusal in refusals],
                    "user_ids": [refusal.user_id for refusal in refusals],
                    "requests": list(refusals.values()),
                },
            )
    except BaseException:
        restore_refusals(refusals)
        raise


def flush_refusals() -> None:
    """Store what this process has counted, before it ends. Never raises."""
    try:
        store_refusals()
    except Exception:
        logger.exception("refusals_lost")


def prune_refusals() -> Iterator[int]:
    """Delete the sums of hours that are older than USAGE_RAW_DAYS, in batches; yields their sizes."""
    yield from delete_old_refusals(before=timezone.now() - timedelta(days=settings.USAGE_RAW_DAYS))


def delete_old_refusals(*, before: datetime) -> Iterator[int]:
    """Delete the sums of hours that began before `before`, one transaction per batch; yields its size."""
    yield from delete_batches(_DELETE, before=before)


def count_old_refusals(*, before: datetime) -> int:
    """How many sums are of hours that began before `before`."""
    return EarlyRefusal.objects.filter(hour__lt=before).count()
