"""Sums up the costs of past days once, so that the cost of a year is not added up call by call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from usage.ledger.statements import COSTS_OF_DAYS
from usage.models import RecorderPosition

# A settlement has the time at which it is written, but clocks differ and its transaction takes a while.
CLOSED_AFTER = timedelta(minutes=10)


@transaction.atomic
def sum_up_costs(*, now: datetime | None = None) -> int:
    """Sum up the days that ended at least CLOSED_AFTER ago; returns the number of new rows. One process does it."""
    end = ((now or timezone.now()) - CLOSED_AFTER).astimezone(UTC).date()
    positions = RecorderPosition.objects.select_for_update(skip_locked=True).filter(pk=1)
    position = positions.exclude(costs_until__gte=end).first()
    if position is None:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO usage_dailycost (date, model, organization_id, calls, unpriced_calls, input_tokens,
                                         output_tokens, cost_micros)
            {COSTS_OF_DAYS} ORDER BY 1, 2, 3
            """,
            {"costs_from": position.costs_until or "-infinity", "costs_until": end},
        )
        rows: int = cursor.rowcount
    position.costs_until = end
    position.save(update_fields=["costs_until"])
    return rows
