"""Forgetting single requests; what was counted of them stays in the sums of hours and days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db import connection
from django.db.models import Value
from django.db.models.functions import Greatest

from usage.models import RecorderPosition, RequestRecord

# Some ten milliseconds of locks and of log; whoever inserts meanwhile does not notice.
BATCH = 5000

_DELETE_BATCH = """
    DELETE FROM usage_requestrecord
     WHERE id IN (SELECT id FROM usage_requestrecord WHERE at < %s ORDER BY at LIMIT %s FOR UPDATE SKIP LOCKED)
"""


def count_old_requests(*, before: datetime) -> int:
    """How many request records are older."""
    return RequestRecord.objects.filter(at__lt=before).count()


def delete_old_requests(*, before: datetime, batch: int = BATCH) -> Iterator[int]:
    """Delete the request records that are older, the oldest first, a transaction for each batch; yields its size.

    Two that run at once share the work. That there are none before that moment is noted first, for who counts again.
    """
    # PostgreSQL's greatest() passes over NULL.
    RecorderPosition.objects.update(raw_since=Greatest("raw_since", Value(before)))
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_DELETE_BATCH, [before, batch])
            if not cursor.rowcount:
                return
            yield cursor.rowcount
