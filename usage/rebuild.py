"""Recalculates the sums of usage from the request records and the ledger, while EdgeChat runs.

A call writes its ledger row and the sums in one transaction, and the recorder of requests locks its position. One
statement therefore sees each table of sums and its source at the same moment. Only a table that differs is locked and
compared again, and its differing rows are deleted and inserted. Meanwhile, readers are not blocked, requests are
counted afterwards, and calls that end wait for the lock.
"""

# ruff: noqa: S608  (queries are put together from constants)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from psycopg.errors import DeadlockDetected, ForeignKeyViolation

from usage.ledger.prices import PAID_MODEL
from usage.models import RecorderPosition
from usage.reports.latency import BUCKETS, LIMITS

EXAMPLES = 5
ATTEMPTS = 5


@dataclass(frozen=True)
class SumTable:
    """A table of sums. `recounted` is the query of its correct rows of `keys` and `sums`.

    `stored` has the expressions of columns that are not compared as stored. Several rows with the same keys are added
    up.
    """

    name: str
    table: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    recounted: str
    stored: tuple[tuple[str, str], ...] = ()
    histogram: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.keys, *self.sums, *self.histogram)


TABLES = (
    SumTable(
        name="hourly usage",
        table="usage_hourlyusage",
        keys=("user_id", "hour"),
        sums=("requests", "input_tokens", "output_tokens"),
        recounted="""
            SELECT user_id, date_trunc('hour', at, 'UTC') AS hour, count(*) AS requests, 0 AS input_tokens,
                   0 AS output_tokens
              FROM usage_requestrecord WHERE at >= %(raw_hour)s::timestamptz GROUP BY 1, 2
            UNION ALL
            SELECT user_id, hour, requests, 0, 0
              FROM usage_hourlyusage WHERE hour < %(raw_hour)s::timestamptz AND requests > 0
            UNION ALL
            SELECT user_id, date_trunc('hour', settled_at, 'UTC'), 0, sum(input_tokens), sum(output_tokens)
              FROM usage_ledgerentry WHERE settled_at IS NOT NULL AND user_id IS NOT NULL GROUP BY 1, 2
        """,
    ),
    SumTable(
        name="organization usage",
        table="usage_organizationusage",
        keys=("organization_id", "user_id", "hour"),
        sums=("input_tokens", "output_tokens"),
        recounted="""
            SELECT organization_id, user_id, date_trunc('hour', settled_at, 'UTC') AS hour,
                   sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
              FROM usage_ledgerentry WHERE settled_at IS NOT NULL AND organization_id IS NOT NULL GROUP BY 1, 2, 3
        """,
    ),
    SumTable(
        name="daily traffic",
        table="usage_dailytraffic",
        keys=("date",),
        sums=("requests", "client_errors", "server_errors", "active_users"),
        histogram=("latencies",),
        recounted=f"""
            WITH answered AS (
                SELECT (at AT TIME ZONE 'UTC')::date AS date, user_id, status,
                       width_bucket(milliseconds::float8, ARRAY{list(LIMITS)}::float8[]) AS bucket
                  FROM usage_requestrecord WHERE at >= %(raw_day)s::timestamptz
            ), buckets AS (
                SELECT date, bucket, count(*) AS requests FROM answered GROUP BY 1, 2
            ), days AS (
                SELECT date, count(*) AS requests,
                       count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS client_errors,
                       count(*) FILTER (WHERE status >= 500) AS server_errors, count(DISTINCT user_id) AS active_users
                  FROM answered GROUP BY 1
            )
            SELECT days.*,
                   (SELECT array_agg(coalesce(buckets.requests, 0) ORDER BY number)
                      FROM generate_series(0, {BUCKETS - 1}) AS number
                      LEFT JOIN buckets ON buckets.date = days.date AND bucket = number) AS latencies
              FROM days
            UNION ALL
            SELECT date, requests, client_errors, server_errors, active_users, latencies
              FROM usage_dailytraffic WHERE date < (%(raw_day)s::timestamptz AT TIME ZONE 'UTC')::date
        """,
    ),
    SumTable(
        name="daily cost",
        table="usage_dailycost",
        keys=("date", "model", "organization_id"),
        sums=("calls", "unpriced_calls", "input_tokens", "output_tokens", "cost_micros"),
        recounted=f"""
            SELECT (settled_at AT TIME ZONE 'UTC')::date AS date, {PAID_MODEL} AS model, organization_id,
                   count(*) AS calls, count(*) - count(cost_micros) AS unpriced_calls,
                   sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
                   coalesce(sum(cost_micros), 0) AS cost_micros
              FROM usage_ledgerentry WHERE settled_at < %(costs_until)s::timestamptz GROUP BY 1, 2, 3
        """,
    ),
    SumTable(
        name="spending",
        table="usage_spending",
        keys=("user_id", "organization_id", "month", "day"),
        sums=("month_tokens", "day_tokens", "reserved_tokens"),
        # The count of a past period is ignored.
        stored=(
            ("month", "%(month)s"),
            ("day", "%(day)s"),
            ("month_tokens", "CASE WHEN month = %(month)s THEN month_tokens ELSE 0 END"),
            ("day_tokens", "CASE WHEN day = %(day)s THEN day_tokens ELSE 0 END"),
        ),
        recounted="""
            SELECT payer.user_id, payer.organization_id, %(month)s AS month, %(day)s AS day,
                   coalesce(sum(input_tokens + output_tokens) FILTER (WHERE settled_at IS NOT NULL), 0) AS month_tokens,
                   coalesce(sum(input_tokens + output_tokens) FILTER (WHERE settled_at >= %(midnight)s), 0)
                       AS day_tokens,
                   coalesce(sum(reserved_tokens) FILTER (WHERE settled_at IS NULL), 0) AS reserved_tokens
              FROM usage_ledgerentry AS entry
             CROSS JOIN LATERAL (VALUES (entry.user_id, NULL::bigint), (NULL, entry.organization_id))
                   AS payer (user_id, organization_id)
             WHERE (settled_at >= %(first_midnight)s OR settled_at IS NULL)
               AND coalesce(payer.user_id, payer.organization_id) IS NOT NULL
             GROUP BY 1, 2
        """,
    ),
)


@dataclass(frozen=True)
class Rebuilt:
    """The differences of a table: rows that were missing, had other sums, or should not exist.

    `sums` has for each column the sum of all rows before and after; `examples` are human-readable lines.
    """

    name: str
    made: int
    changed: int
    removed: int
    sums: dict[str, tuple[int, int]]
    examples: list[str]

    @property
    def differences(self) -> int:
        return self.made + self.changed + self.removed


def rebuild_usage(*, dry_run: bool = False) -> Iterator[Rebuilt]:
    """Recount each of TABLES, one transaction each, and yield its differences; a dry run changes nothing.

    Request counts before the oldest request record stay unchanged. An account's records are deleted with the account,
    so its requests are missing from the days that are recounted. Raises OperationalError or IntegrityError if a table
    cannot be rebuilt; the tables before it stay rebuilt.
    """
    for table in TABLES:
        found = _recount(table, rebuild=False)
        yield found if dry_run or not found.differences else _rebuild(table)


def _rebuild(table: SumTable) -> Rebuilt:
    for _ in range(ATTEMPTS - 1):
        try:
            return _recount(table, rebuild=True)
        except (OperationalError, IntegrityError) as error:
            # A simultaneous deletion of an account or organization locks its rows in another order.
            if not isinstance(error.__cause__, DeadlockDetected | ForeignKeyViolation):
                raise
    return _recount(table, rebuild=True)


def _recount(table: SumTable, *, rebuild: bool) -> Rebuilt:
    with transaction.atomic(), connection.cursor() as cursor:
        moments = _moments(RecorderPosition.objects.select_for_update().get(pk=1))
        if rebuild:
            cursor.execute(f"LOCK TABLE {table.table} IN SHARE ROW EXCLUSIVE MODE")
        # Enough to sort millions of groups in memory instead of on disk.
        cursor.execute("SET LOCAL work_mem = '128MB'")
        rebuilt = _compare(cursor, table, moments)
        if rebuild:
            _replace(cursor, table)
        cursor.execute("DROP TABLE difference")
    return rebuilt


def _moments(position: RecorderPosition) -> dict[str, Any]:
    """Parameters of the queries. The hour and the day in which the request records begin are incomplete."""
    day = timezone.now().astimezone(UTC).date()
    month = day.replace(day=1)
    since, until = position.raw_since, position.costs_until
    return {
        "raw_hour": "-infinity" if since is None else _round_up(since, timedelta(hours=1)),
        "raw_day": "-infinity" if since is None else _round_up(since, timedelta(days=1)),
        "costs_until": "-infinity" if until is None else _midnight(until),
        "month": month,
        "first_midnight": _midnight(month),
        "day": day,
        "midnight": _midnight(day),
    }


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _round_up(moment: datetime, step: timedelta) -> datetime:
    """The next multiple of the step since 1970, UTC; the moment itself if it is one."""
    return moment + (datetime(1970, 1, 1, tzinfo=UTC) - moment) % step


def _compare(cursor: CursorWrapper, table: SumTable, moments: dict[str, Any]) -> Rebuilt:
    """Create the temporary table of differing keys in one statement (one snapshot), and describe the differences."""
    keys, columns = ", ".join(table.keys), ", ".join(table.columns)
    stored = ", ".join(dict(table.stored).get(name, name) + f" AS {name}" for name in table.columns)
    # There is one histogram for each key.
    values = [(name, "sum", "0") for name in table.sums] + [(name, "max", "'{}'") for name in table.histogram]
    compared, differs = [], []
    for name, aggregate, nothing in values:
        was = f"coalesce({aggregate}({name}) FILTER (WHERE place IS NOT NULL), {nothing})"
        recounted = f"coalesce({aggregate}({name}) FILTER (WHERE place IS NULL), {nothing})"
        compared.append(f"{was} AS was_{name}, {recounted} AS is_{name}")
        differs.append(f"{was} <> {recounted}")
    cursor.execute(
        f"""
        CREATE TEMPORARY TABLE difference ON COMMIT DROP AS
        SELECT {keys}, array_agg(place) FILTER (WHERE place IS NOT NULL) AS places,
               bool_or(place IS NULL) AS expected, {", ".join(compared)}
          FROM (
              SELECT ctid AS place, {stored} FROM {table.table}
              UNION ALL
              SELECT NULL, {columns} FROM ({table.recounted}) AS recounted
          ) AS both_sides
         GROUP BY {keys} HAVING {" OR ".join(differs)}
        """,
        moments,
    )
    changes = ", ".join(f"coalesce(sum(is_{name} - was_{name}), 0)" for name in table.sums)
    cursor.execute(
        f"""
        SELECT count(*) FILTER (WHERE places IS NULL), count(*) FILTER (WHERE places IS NOT NULL AND expected),
               count(*) FILTER (WHERE NOT expected), {changes}
          FROM difference
        """
    )
    made, changed, removed, *added = cursor.fetchone()
    totals = ", ".join(f"coalesce(sum({name}), 0)" for name in table.sums)
    cursor.execute(f"SELECT {totals} FROM (SELECT {stored} FROM {table.table}) AS stored", moments)
    sums = {
        name: (int(total), int(total + more))
        for name, total, more in zip(table.sums, cursor.fetchone(), added, strict=True)
    }
    return Rebuilt(table.name, made, changed, removed, sums, _examples(cursor, table))


def _replace(cursor: CursorWrapper, table: SumTable) -> None:
    # ctids are stable, because the table is locked.
    cursor.execute(f"DELETE FROM {table.table} WHERE ctid = ANY(ARRAY(SELECT unnest(places) FROM difference))")
    values = ", ".join((*table.keys, *(f"is_{name}" for name in (*table.sums, *table.histogram))))
    cursor.execute(
        f"INSERT INTO {table.table} ({', '.join(table.columns)}) SELECT {values} FROM difference WHERE expected"
    )


def _examples(cursor: CursorWrapper, table: SumTable) -> list[str]:
    keys = ", ".join(table.keys)
    compared = ", ".join(f"was_{name}, is_{name}" for name in table.sums)
    cursor.execute(f"SELECT {keys}, {compared} FROM difference ORDER BY {keys} LIMIT {EXAMPLES}")
    examples = []
    for row in cursor.fetchall():
        where = [f"{name.removesuffix('_id')} {_short(value)}" for name, value in zip(table.keys, row, strict=False)]
        values = row[len(table.keys) :]
        pairs = zip(table.sums, values[::2], values[1::2], strict=True)
        changes = [f"{name} {was} -> {recounted}" for name, was, recounted in pairs if was != recounted]
        examples.append(f"{', '.join(where)}: {', '.join(changes or table.histogram)}")
    return examples


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H}h"
    return "-" if value is None else str(value)
