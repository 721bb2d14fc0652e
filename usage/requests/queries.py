"""Answered requests that are not in PostgreSQL yet, and those that are old enough to delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import connection, transaction

from edgechat.errors import StoreUnavailable
from edgechat.metrics import catalog
from edgechat.stores.redis import RedisError
from usage.models import RecorderPosition, RequestRecord
from usage.requests.request_stream import AnsweredRequest, confirmed, held, read_stream, stream_state


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
    pending = {record.key: record.at for record in [*held.values(), *confirmed.values()] if record.user_id == user_id}
    try:
        entries = read_stream(after)
    except RedisError:
        entries = []
    for entry_id, fields in entries:
        record = AnsweredRequest.from_entry(fields)
        if record is not None and record.user_id == user_id:
            pending[record.key or entry_id.decode()] = record.at
    # Some may have reached PostgreSQL directly, although they come after the position.
    known = set(RequestRecord.objects.filter(key__in=pending).values_list("key", flat=True)) if pending else set()
    return [at for key, at in pending.items() if key not in known]


def measure_backlog() -> None:
    """Set the metrics of the requests that are not counted yet. Raises StoreUnavailable."""
    position = RecorderPosition.objects.filter(pk=1).values_list("last_id", flat=True).first()
    try:
        entries, oldest_at, now = stream_state(position or "0-0")
    except RedisError as error:
        raise StoreUnavailable from error
    catalog.counting_entries.set(entries)
    catalog.counting_backlog.set(0 if oldest_at is None else max(0.0, now - oldest_at))


def count_old_requests(*, before: datetime) -> int:
    """How many request records are older than `before`."""
    return RequestRecord.objects.filter(at__lt=before).count()
