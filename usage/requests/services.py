"""Counts requests: into a Redis stream before the response is sent, and from there into PostgreSQL in batches.

docs/decisions/0016-counting-requests.md describes which counts can be lost, and when.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Greatest
from django.utils import timezone

from edgechat.stores.redis import RedisError, is_ahead, redis_client
from usage.models import RecorderPosition
from usage.requests import statements
from usage.requests.request_stream import STREAM, AnsweredRequest, add_to_stream, confirmed, held, read_stream

logger = structlog.get_logger(__name__)

BATCH = 5000
# Limits what a process holds while both stores are down; the oldest are dropped.
MAX_HELD = 100_000
# Readers read the position first and the stream after it, so the stream keeps written entries for a while.
KEEP_MILLISECONDS = 10_000
# Of a deletion: locks and WAL of some ten milliseconds, too short for concurrent inserts to notice.
DELETED_AT_A_TIME = 5000

# Between the rounds of a process that has counted nothing: they find the records of killed processes.
IDLE_SECONDS = 5.0

# One round at a time: a process must not end while another round has its records.
_collecting = threading.Lock()
_collected_at = -IDLE_SECONDS
# Whether the last round may have left records of this process in the stream.
_is_behind = False


def record_request(record: AnsweredRequest) -> None:
    """Count an answered request. Never raises: a failed count must not lose the response."""
    _hold(record)  # before the wait for Redis, because the process may end meanwhile
    with suppress(RedisError):
        add_to_stream(record)
        confirmed[record.key] = record
        held.pop(record.key, None)


def _hold(record: AnsweredRequest) -> None:
    if len(held) >= MAX_HELD:
        held.pop(next(iter(held)), None)
    held[record.key] = record


def collect_new_requests() -> None:
    """Collect what this process has counted, and every IDLE_SECONDS what others have counted. Call it every second."""
    if confirmed or held or _is_behind or time.monotonic() - _collected_at >= IDLE_SECONDS:
        collect_requests()


def collect_requests() -> int:
    """Move the counted requests into PostgreSQL in one transaction; returns how many records were new.

    One process at a time reads the stream; each process writes directly what Redis has not confirmed or has lost.
    """
    global _collected_at
    with _collecting:
        _collected_at = time.monotonic()
        records = list(confirmed.values())  # before the ping, so that its result applies to all of them
        is_away = bool(records) and not _redis_answers()
        for record in records:
            if is_away:
                _hold(record)
            confirmed.pop(record.key, None)
        mine = list(held.values())
        count = _collect(mine)
        for record in mine:
            held.pop(record.key, None)
        return count


def _redis_answers() -> bool:
    try:
        redis_client().ping()
    except RedisError:
        return False
    return True


def flush_requests() -> None:
    """Write all records that this process holds, before it ends. Never raises."""
    try:
        collect_requests()
    except Exception:
        logger.exception("usage_records_lost", count=len(held))


def _collect(mine: list[AnsweredRequest]) -> int:
    global _is_behind
    _is_behind = True  # unless this round reads the stream to its end and commits
    is_read = False
    with transaction.atomic():
        positions = RecorderPosition.objects.select_for_update(skip_locked=not mine)
        position = positions.get(pk=1) if mine else positions.filter(pk=1).first()
        if position is None:
            return 0
        try:
            entries = read_stream(position.last_id, count=BATCH)
            is_read = len(entries) < BATCH
        except RedisError:
            entries = []
        read = [AnsweredRequest.from_entry(fields) for _, fields in entries]
        records = [*mine, *(record for record in read if record is not None)]
        if None in read:
            logger.error("foreign_usage_entries_skipped", count=read.count(None))
        count = count_requests(records) if records else 0
        restart = bool(entries) and len(entries) < BATCH and is_ahead(entries[-1][0])
        if entries:
            newest = entries[-1][0].decode()
            position.last_id = f"{int((time.time() - 3600) * 1000)}-0" if restart else newest
            position.save(update_fields=["last_id"])
    _is_behind = not is_read
    if entries:
        _trim(position.last_id, restart=restart)
    return count


def count_requests(records: list[AnsweredRequest]) -> int:
    """Write records and add them to the sums; returns how many were new. Those of deleted accounts are left out."""
    with connection.cursor() as cursor:
        # Accounts may have been deleted since. The lock prevents further deletions until the commit.
        cursor.execute(
            "SELECT id FROM accounts_user WHERE id = ANY(%s) FOR KEY SHARE", [sorted({r.user_id for r in records})]
        )
        existing = {row[0] for row in cursor.fetchall()}
        kept = [record for record in records if record.user_id in existing]
        cursor.execute(
            statements.COUNT,
            {
                "user_ids": [record.user_id for record in kept],
                "times": [record.at for record in kept],
                # Cut to the columns: a client may send any word as its method, and a single refused record would
                # prevent the count of its whole batch at each attempt.
                "methods": [record.method[:10] for record in kept],
                "routes": [record.route[:200] for record in kept],
                "statuses": [record.status for record in kept],
                "milliseconds": [record.milliseconds for record in kept],
                "request_ids": [record.request_id for record in kept],
                "longs": [record.is_long for record in kept],
                "reasons": [record.reason for record in kept],
                "keys": [record.key for record in kept],
            },
        )
        return int(cursor.fetchone()[0])


def _trim(last_id: str, *, restart: bool) -> None:
    oldest_kept = int(last_id.partition("-")[0]) - KEEP_MILLISECONDS
    try:
        if restart:
            logger.error("usage_stream_restarted")
            redis_client().unlink(STREAM)
        redis_client().xtrim(STREAM, minid=f"{oldest_kept}-0", approximate=True)
    except RedisError:
        logger.warning("usage_stream_not_trimmed")


def prune_requests() -> Iterator[int]:
    """Delete the request records older than USAGE_RAW_DAYS, in batches; yields their sizes."""
    yield from delete_old_requests(before=timezone.now() - timedelta(days=settings.USAGE_RAW_DAYS))


def delete_old_requests(*, before: datetime, batch: int = DELETED_AT_A_TIME) -> Iterator[int]:
    """Delete the request records older than `before`, one transaction per batch; yields its size.

    Their counts remain in the hourly and daily sums. The new start of the records is stored first, for `rebuild_usage`.
    """
    # PostgreSQL's greatest() ignores NULL.
    RecorderPosition.objects.update(raw_since=Greatest("raw_since", Value(before)))
    yield from delete_batches(statements.DELETE_BATCH, before=before, batch=batch)


def delete_batches(statement: str, *, before: datetime, batch: int = DELETED_AT_A_TIME) -> Iterator[int]:
    """Run a statement that deletes `batch` rows older than `before`, until none is left; yields how many each time."""
    while True:
        # A cursor for each batch: the connection may be returned to the pool between two of them.
        with connection.cursor() as cursor:
            cursor.execute(statement, [before, batch])
            deleted = cursor.rowcount
        if not deleted:
            return
        yield deleted
