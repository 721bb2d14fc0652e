"""Deletes records of single requests; their counts remain in the hourly and daily sums."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db import connection
from django.db.models import Value
from django.db.models.functions import Greatest

from usage.models import RecorderPosition, RequestRecord

# Locks and WAL of some ten milliseconds, too short for concurrent inserts to notice.
BATCH = 5000

_DELETE_BATCH = """
    DELETE FROM usage_requestrecord
     WHERE id IN (SELECT id FROM usage_requestrecord WHERE at < %s ORDER BY at LIMIT %s FOR UPDATE SKIP LOCKED)
"""


def count_old_requests(*, before: datetime) -> int:
    """How many request records are older than `before`."""
    return RequestRecord.objects.filter(at__lt=before).count()


def delete_old_requests(*, before: datetime, batch: int = BATCH) -> Iterator[int]:
    """Delete the request records older than `before`, the oldest first, one transaction per batch; yields its size.

    Two simultaneous runs share the work. The new start of the records is stored first, for `rebuild_usage`.
    """
    # PostgreSQL's greatest() ignores NULL.
    RecorderPosition.objects.update(raw_since=Greatest("raw_since", Value(before)))
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_DELETE_BATCH, [before, batch])
            if not cursor.rowcount:
                return
            yield cursor.rowcount
