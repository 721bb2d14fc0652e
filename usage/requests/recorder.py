"""Counts requests: into a Redis stream before the response is sent, and from there into PostgreSQL in batches.

docs/decisions/0016-counting-requests.md describes which counts can be lost, and when.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import cast

import structlog
from django.db import connection, transaction

from edgechat.stores.redis import RedisError, drop_foreign, is_ahead, is_foreign, redis_client
from usage.models import RecorderPosition, RequestRecord
from usage.reports.latency import LIMITS
from usage.requests.request_stream import STREAM, AnsweredRequest, add_to_stream

logger = structlog.get_logger(__name__)

BATCH = 5000
# Limits what a process holds while both stores are down; the oldest are dropped.
MAX_HELD = 100_000
# Readers read the position first and the stream after it, so the stream keeps written entries for a while.
KEEP_MILLISECONDS = 10_000

# A duplicate is not inserted, and only inserted records are counted. All parts of the statement see the tables as they
# were before it, so users without earlier requests on a day become active in this statement.
_COUNT = """
    WITH inserted AS (
        INSERT INTO usage_requestrecord (user_id, at, method, route, status, milliseconds, key)
        SELECT * FROM unnest(%(user_ids)s::bigint[], %(times)s::timestamptz[], %(methods)s::text[], %(routes)s::text[],
                             %(statuses)s::smallint[], %(milliseconds)s::integer[], %(keys)s::text[])
        ON CONFLICT (key) DO NOTHING
        RETURNING user_id, at, (at AT TIME ZONE 'UTC')::date AS date, status, milliseconds
    ), hourly AS (
        INSERT INTO usage_hourlyusage (user_id, hour, requests, input_tokens, output_tokens)
        SELECT user_id, date_trunc('hour', at, 'UTC') AS hour, count(*), 0, 0
          FROM inserted
         GROUP BY user_id, hour
         ORDER BY user_id, hour
        ON CONFLICT (user_id, hour) DO UPDATE SET requests = usage_hourlyusage.requests + excluded.requests
    ), counted AS (
        SELECT date,
               count(*) AS requests,
               count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS client_errors,
               count(*) FILTER (WHERE status >= 500) AS server_errors
          FROM inserted
         GROUP BY date
    ), active AS (
        SELECT date, count(*) AS users
          FROM (SELECT DISTINCT date, user_id FROM inserted) AS present
         WHERE NOT EXISTS (
                   SELECT FROM usage_hourlyusage AS earlier
                    WHERE earlier.user_id = present.user_id
                      AND earlier.hour >= date::timestamp AT TIME ZONE 'UTC'
                      AND earlier.hour < (date + 1)::timestamp AT TIME ZONE 'UTC'
                      AND earlier.requests > 0
               )
         GROUP BY date
    ), bucketed AS (
        SELECT date, width_bucket(milliseconds::float8, %(limits)s::float8[]) AS bucket, count(*) AS requests
          FROM inserted
         GROUP BY date, bucket
    ), histogram AS (
        SELECT date, array_agg(coalesce(bucketed.requests, 0) ORDER BY bucket) AS latencies
          FROM counted
         CROSS JOIN generate_series(0, cardinality(%(limits)s::float8[])) AS bucket
          LEFT JOIN bucketed USING (date, bucket)
         GROUP BY date
    ), daily AS (
        INSERT INTO usage_dailytraffic AS day
                    (date, requests, client_errors, server_errors, active_users, latencies)
        SELECT date, requests, client_errors, server_errors, coalesce(users, 0), latencies
          FROM counted
          JOIN histogram USING (date)
          LEFT JOIN active USING (date)
        ON CONFLICT (date) DO UPDATE
           SET requests = day.requests + excluded.requests,
               client_errors = day.client_errors + excluded.client_errors,
               server_errors = day.server_errors + excluded.server_errors,
               active_users = day.active_users + excluded.active_users,
               latencies = ARRAY(
                   SELECT before + added
                     FROM unnest(day.latencies, excluded.latencies) WITH ORDINALITY AS pair (before, added, bucket)
                    ORDER BY bucket
               )
    )
    SELECT count(*) FROM inserted
"""

# By key: records that Redis has not confirmed, although they may have arrived; and records that it has confirmed since
# the last round of `collect_requests`, which this process still has if Redis goes down.
_held: dict[str | None, AnsweredRequest] = {}
_confirmed: dict[str | None, AnsweredRequest] = {}
# One round at a time: a process must not end while another round has its records.
_collecting = threading.Lock()


def record_request(record: AnsweredRequest) -> None:
    """Count an answered request. Never raises: a failed count must not lose the response."""
    _hold(record)  # before the wait for Redis, because the process may end meanwhile
    with suppress(RedisError):
        add_to_stream(record)
        _confirmed[record.key] = record
        _held.pop(record.key, None)


def _hold(record: AnsweredRequest) -> None:
    if len(_held) >= MAX_HELD:
        _held.pop(next(iter(_held)), None)
    _held[record.key] = record


@contextmanager
def one_snapshot() -> Iterator[None]:
    """All queries in the block see one snapshot of the database and may only read. Not inside a transaction."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def pending_requests(user_id: int, *, after: str) -> list[datetime]:
    """The times of a user's answered requests that are not in PostgreSQL yet; `after` is the position there.

    Exact if the sums, the position and this are read in `one_snapshot`. Without Redis, only this process's requests.
    """
    known_here = [*_held.values(), *_confirmed.values()]
    pending = {record.key: record.at for record in known_here if record.user_id == user_id}
    try:
        entries = _read_stream(after)
    except RedisError:
        entries = []
    for entry_id, fields in entries:
        record = AnsweredRequest.from_entry(fields)
        if record is not None and record.user_id == user_id:
            pending[record.key or entry_id.decode()] = record.at
    # Some may have reached PostgreSQL directly, although they come after the position.
    known = set(RequestRecord.objects.filter(key__in=pending).values_list("key", flat=True)) if pending else set()
    return [at for key, at in pending.items() if key not in known]


def collect_requests() -> int:
    """Move the counted requests into PostgreSQL in one transaction; returns how many records were new.

    One process at a time reads the stream; each process writes directly what Redis has not confirmed or has lost. Call
    it every second, and when the process ends.
    """
    with _collecting:
        confirmed = list(_confirmed.values())
        is_away = bool(confirmed) and not _redis_answers()
        for record in confirmed:
            if is_away:
                _hold(record)
            _confirmed.pop(record.key, None)
        mine = list(_held.values())
        count = _collect(mine)
        for record in mine:
            _held.pop(record.key, None)
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
        logger.exception("usage_records_lost", count=len(_held))


def _collect(mine: list[AnsweredRequest]) -> int:
    with transaction.atomic():
        positions = RecorderPosition.objects.select_for_update(skip_locked=not mine)
        position = positions.get(pk=1) if mine else positions.filter(pk=1).first()
        if position is None:
            return 0
        try:
            entries = _read_stream(position.last_id, count=BATCH)
        except RedisError:
            entries = []
        read = [AnsweredRequest.from_entry(fields) for _, fields in entries]
        records = [*mine, *(record for record in read if record is not None)]
        if None in read:
            logger.error("foreign_usage_entries_skipped", count=read.count(None))
        count = _write(records) if records else 0
        begin_anew = bool(entries) and len(entries) < BATCH and is_ahead(entries[-1][0])
        if entries:
            newest = entries[-1][0].decode()
            position.last_id = f"{int((time.time() - 3600) * 1000)}-0" if begin_anew else newest
            position.save(update_fields=["last_id"])
    if entries:
        _trim(position.last_id, begin_anew=begin_anew)
    return count


def _read_stream(after: str, *, count: int | None = None) -> list[tuple[bytes, dict[bytes, bytes]]]:
    try:
        answer = redis_client().xrange(STREAM, min=f"({after}", max="+", count=count)
    except RedisError as error:
        if is_foreign(error):
            drop_foreign("stream", STREAM)
        raise
    return cast("list[tuple[bytes, dict[bytes, bytes]]]", answer)


def _write(records: list[AnsweredRequest]) -> int:
    with connection.cursor() as cursor:
        # Accounts may have been deleted since. The lock prevents further deletions until the commit.
        cursor.execute(
            "SELECT id FROM accounts_user WHERE id = ANY(%s) FOR KEY SHARE", [sorted({r.user_id for r in records})]
        )
        existing = {row[0] for row in cursor.fetchall()}
        kept = [record for record in records if record.user_id in existing]
        cursor.execute(
            _COUNT,
            {
                "user_ids": [record.user_id for record in kept],
                "times": [record.at for record in kept],
                # Cut to the columns: a client may send any word as its method, and a single refused record would
                # prevent the count of its whole batch at each attempt.
                "methods": [record.method[:10] for record in kept],
                "routes": [record.route[:200] for record in kept],
                "statuses": [record.status for record in kept],
                "milliseconds": [record.milliseconds for record in kept],
                "keys": [record.key for record in kept],
                "limits": list(LIMITS),
            },
        )
        return int(cursor.fetchone()[0])


def _trim(last_id: str, *, begin_anew: bool) -> None:
    oldest_kept = int(last_id.partition("-")[0]) - KEEP_MILLISECONDS
    try:
        if begin_anew:
            logger.error("usage_stream_begun_anew")
            redis_client().unlink(STREAM)
        redis_client().xtrim(STREAM, minid=f"{oldest_kept}-0", approximate=True)
    except RedisError:
        logger.warning("usage_stream_not_trimmed")
