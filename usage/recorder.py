"""Counting requests: into a Redis stream when they are answered, from there to PostgreSQL in batches.

What Redis has acknowledged survives a killed process. While Redis is down a process keeps its records in memory and
writes them to PostgreSQL itself; what it holds when it is killed, a second's worth as a rule, is lost.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import structlog
from django.db import connection, transaction

from edgechat.redis import RedisError, redis_client
from usage.models import RecorderPosition, RequestRecord

logger = structlog.get_logger(__name__)

STREAM = "edgechat:usage:requests"
BATCH = 5000
# Readers look up the position first and the stream after it, so what was written stays in the stream for a while.
KEEP_MILLISECONDS = 10_000
# Bounds on what an outage of PostgreSQL, or of Redis, can pile up.
MAX_WAITING_IN_REDIS = 1_000_000
MAX_WAITING_HERE = 100_000


@dataclass(frozen=True)
class AnsweredRequest:
    user_id: int
    at: datetime
    method: str
    route: str
    status: int
    milliseconds: int


_here: deque[AnsweredRequest] = deque(maxlen=MAX_WAITING_HERE)
_here_lock = threading.Lock()


def record_request(record: AnsweredRequest) -> None:
    """Count an answered request. Never raises: an answer is not lost over its bookkeeping."""
    fields = {
        "u": record.user_id,
        "t": record.at.timestamp(),
        "m": record.method,
        "r": record.route,
        "s": record.status,
        "d": record.milliseconds,
    }
    try:
        redis_client().xadd(STREAM, fields, maxlen=MAX_WAITING_IN_REDIS, approximate=True)  # type: ignore[arg-type]
    except RedisError:
        with _here_lock:
            _here.append(record)


def pending_requests(user_id: int, *, after: str) -> list[datetime]:
    """When a user's requests were answered that are in the stream behind position `after`; empty without Redis."""
    try:
        entries = _read_stream(after)
    except RedisError:
        return []
    return [datetime.fromtimestamp(float(fields[b"t"]), UTC) for _, fields in entries if int(fields[b"u"]) == user_id]


def collect_requests() -> int:
    """Move what was counted into PostgreSQL, in one transaction; how many records. One process at a time does it."""
    with _here_lock:
        mine = list(_here)
        _here.clear()
    try:
        return _collect(mine)
    except Exception:
        with _here_lock:
            _here.extendleft(reversed(mine))
        raise


def _collect(mine: list[AnsweredRequest]) -> int:
    with transaction.atomic():
        position = RecorderPosition.objects.select_for_update(skip_locked=not mine).filter(pk=1).first()
        if position is None:
            return 0
        try:
            entries = _read_stream(position.last_id, count=BATCH)
        except RedisError:
            entries = []
        records = [*mine, *(_parse(fields) for _, fields in entries)]
        if not records:
            return 0
        _write(records)
        if entries:
            position.last_id = entries[-1][0].decode()
            position.save(update_fields=["last_id"])
    if entries:
        _trim(position.last_id)
    return len(records)


def _read_stream(after: str, *, count: int | None = None) -> list[tuple[bytes, dict[bytes, bytes]]]:
    answer = redis_client().xrange(STREAM, min=f"({after}", max="+", count=count)
    return cast("list[tuple[bytes, dict[bytes, bytes]]]", answer)


def _parse(fields: dict[bytes, bytes]) -> AnsweredRequest:
    return AnsweredRequest(
        user_id=int(fields[b"u"]),
        at=datetime.fromtimestamp(float(fields[b"t"]), UTC),
        method=fields[b"m"].decode(),
        route=fields[b"r"].decode(),
        status=int(fields[b"s"]),
        milliseconds=int(fields[b"d"]),
    )


def _write(records: list[AnsweredRequest]) -> None:
    with connection.cursor() as cursor:
        # Accounts may have been deleted since; their rows are locked against it until this is committed.
        cursor.execute(
            "SELECT id FROM accounts_user WHERE id = ANY(%s) FOR KEY SHARE", [sorted({r.user_id for r in records})]
        )
        existing = {row[0] for row in cursor.fetchall()}
        kept = [record for record in records if record.user_id in existing]
        cursor.execute(
            """
            INSERT INTO usage_hourlyusage (user_id, hour, requests, input_tokens, output_tokens)
            SELECT user_id, date_trunc('hour', at, 'UTC') AS hour, count(*), 0, 0
              FROM unnest(%s::bigint[], %s::timestamptz[]) AS answered (user_id, at)
             GROUP BY user_id, hour
             ORDER BY user_id, hour
            ON CONFLICT (user_id, hour) DO UPDATE SET requests = usage_hourlyusage.requests + excluded.requests
            """,
            [[record.user_id for record in kept], [record.at for record in kept]],
        )
    RequestRecord.objects.bulk_create(
        [
            RequestRecord(
                user_id=record.user_id,
                at=record.at,
                method=record.method,
                route=record.route[:200],
                status=record.status,
                milliseconds=record.milliseconds,
            )
            for record in kept
        ],
        batch_size=1000,
    )


def _trim(last_id: str) -> None:
    oldest_kept = int(last_id.partition("-")[0]) - KEEP_MILLISECONDS
    try:
        redis_client().xtrim(STREAM, minid=f"{oldest_kept}-0", approximate=True)
    except RedisError:
        logger.warning("usage_stream_not_trimmed")
