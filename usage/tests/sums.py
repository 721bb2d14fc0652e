"""Helpers for tests of daily sums."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from usage.models import LedgerEntry, RecorderPosition, UserDay


@contextmanager
def costs_summed_until(day: date | None) -> Iterator[None]:
    """In a transaction that is rolled back."""
    with transaction.atomic():
        position = RecorderPosition.objects.get(pk=1)
        position.costs_until = day
        position.save(update_fields=["costs_until"])
        yield
        transaction.set_rollback(True)


def at(day: date, clock: str = "12:00") -> datetime:
    return datetime.combine(day, time.fromisoformat(clock), UTC)


def settled(moment: datetime | None, *, cost: int | None, model: str = "m", **fields: Any) -> LedgerEntry:
    """An entry, which is also counted in the day of its user, if it has one."""
    if moment is not None and "user" in fields:
        tokens = {f"{kind}_tokens": fields.get(f"{kind}_tokens", 0) for kind in ("input", "output")}
        unpriced = int(cost is None)
        count(fields["user"], moment, calls=1, unpriced_calls=unpriced, cost_micros=cost or 0, **tokens)
    return LedgerEntry.objects.create(
        attempt_id=uuid.uuid4().hex,
        purpose="chat",
        model=model,
        abandoned_after=timezone.now(),
        settled_at=moment,
        cost_micros=cost,
        **fields,
    )


def count(user: User, moment: datetime, **sums: int) -> None:
    """Add to the sums of a user's day."""
    day, _ = UserDay.objects.get_or_create(user=user, date=moment.astimezone(UTC).date())
    UserDay.objects.filter(pk=day.pk).update(**{name: F(name) + number for name, number in sums.items()})
