"""What the web processes do, and what waits for them, for the commands `status` and `doctor`."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from accounts.models import User
from conversations.transcript_repository import count_unpurged, list_running
from edgechat.stores.redis import redis_client
from usage.models import Process, RecorderPosition
from usage.process_reports import ProcessReport, read_report
from usage.requests.request_stream import STREAM, read_stream

MAX_REPLIES = 10_000


@dataclass(frozen=True)
class ProcessState:
    """`lease`: the remaining seconds of its lease. `report` is None if it did not report in the last seconds."""

    name: str
    lease: float
    is_leaving: bool
    report: ProcessReport | None


@dataclass(frozen=True)
class Backlogs:
    """`requests_late`: the age in seconds of the oldest answered request that is not counted.

    `accounts` and `conversations`: deletions that have not ended; at most 1000 conversations are counted.
    """

    requests_late: float
    accounts: int
    conversations: int


def live_processes() -> list[ProcessState]:
    """The processes whose lease has not run out, by name. Raises OperationalError and RedisError."""
    left = ExpressionWrapper(F("alive_until") - Now(), DurationField())
    rows = Process.objects.filter(dead=False, alive_until__gt=Now()).annotate(left=left).order_by("name")
    return [ProcessState(row.name, row.left.total_seconds(), row.leaving, read_report(row.name)) for row in rows]


def count_replies() -> Counter[str]:
    """The number of running replies by the names of their processes, dead ones too."""
    running = list_running(limit=MAX_REPLIES)
    return Counter(found["reply"]["worker"] for found in running if found["reply"] is not None)


def measure_backlogs() -> Backlogs:
    """Raises OperationalError, StoreUnavailable and RedisError."""
    position = RecorderPosition.objects.filter(pk=1).values_list("last_id", flat=True).first()
    first = read_stream(position or "0-0", count=1)
    late = max(0.0, redis_seconds() - int(first[0][0].partition(b"-")[0]) / 1000) if first else 0.0
    accounts = User.objects.filter(deletion_requested_at__isnull=False).count()
    return Backlogs(round(late, 1), accounts, count_unpurged())


def redis_seconds() -> float:
    """The time of Redis, in seconds since 1970."""
    answer: Any = redis_client().time()
    seconds, micros = answer
    return float(seconds + micros / 10**6)


def stream_length() -> int:
    """The requests in the stream of Redis: those that are not counted, and those of the last ten seconds."""
    return int(redis_client().xlen(STREAM))


def clock_differences() -> dict[str, float]:
    """The seconds by which other clocks are ahead of PostgreSQL's, within the time of the question."""
    began = time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        (database,) = cursor.fetchone()
    ended = time.time()
    here = (began + ended) / 2 - database
    return {"this machine": here, "Redis": redis_seconds() - time.time() + here}
