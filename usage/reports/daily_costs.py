"""Sums up the costs of past days once, so that the cost of a year is not added up call by call."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from django.db import connection, transaction
from django.utils import timezone

from usage.ledger.prices import PAID_MODEL
from usage.models import RecorderPosition

# A settlement has the time at which it is written, but clocks differ and its transaction takes a while.
CLOSED_AFTER = timedelta(minutes=10)


def sum_up_costs(*, now: datetime | None = None) -> int:
    """Sum up the days that ended at least CLOSED_AFTER ago; returns the number of new rows. One process does it."""
    end = ((now or timezone.now()) - CLOSED_AFTER).astimezone(UTC).date()
    if RecorderPosition.objects.filter(pk=1, costs_until__gte=end).exists():
        return 0
    with transaction.atomic():
        position = RecorderPosition.objects.select_for_update(skip_locked=True).filter(pk=1).first()
        if position is None or (position.costs_until is not None and position.costs_until >= end):
            return 0
        start = None if position.costs_until is None else datetime.combine(position.costs_until, time(), UTC)
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO usage_dailycost (date, model, organization_id, calls, unpriced_calls,
                                             input_tokens, output_tokens, cost_micros)
                SELECT (settled_at AT TIME ZONE 'UTC')::date AS day, {PAID_MODEL} AS paid, organization_id, count(*),
                       count(*) - count(cost_micros), sum(input_tokens), sum(output_tokens),
                       coalesce(sum(cost_micros), 0)
                  FROM usage_ledgerentry
                 WHERE settled_at >= coalesce(%(start)s::timestamptz, '-infinity') AND settled_at < %(end)s
                 GROUP BY day, paid, organization_id
                 ORDER BY day, paid, organization_id
                """,  # noqa: S608  (constants)
                {"start": start, "end": datetime.combine(end, time(), UTC)},
            )
            rows: int = cursor.rowcount
        position.costs_until = end
        position.save(update_fields=["costs_until"])
    return rows
