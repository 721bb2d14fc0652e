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
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.errors import DeadlockDetected, ForeignKeyViolation

from usage.ledger.statements import COSTS_OF_DAYS
from usage.ledger.statements import OF_USER as CALLS_OF_USER
from usage.models import RecorderPosition, today
from usage.requests.statements import BUCKET, TRAFFIC
from usage.requests.statements import OF_USER as REQUESTS_OF_USER

EXAMPLES = 5
ATTEMPTS = 5


@dataclass(frozen=True)
class SumTable:
    """A table of sums. `recounted` is the query of its correct rows of `keys`, `sums` and the column `histogram`.

    `stored` replaces the table where columns are not compared as stored. Several rows with the same keys are added up.
    """

    name: str
    table: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    recounted: str
    histogram: str = ""
    stored: str = ""

    @property
    def columns(self) -> str:
        return ", ".join((*self.keys, *self.sums, *filter(None, [self.histogram])))


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
        name="days of users",
        table="usage_userday",
        keys=("user_id", "date"),
        sums=(
            *("requests", "failed"),
            *("calls", "unpriced_calls", "input_tokens", "output_tokens", "cost_micros"),
        ),
        recounted=f"""
            SELECT user_id, (at AT TIME ZONE 'UTC')::date AS date, {REQUESTS_OF_USER}, 0 AS calls, 0 AS unpriced_calls,
                   0 AS input_tokens, 0 AS output_tokens, 0 AS cost_micros
              FROM usage_requestrecord WHERE at >= %(raw_day)s::timestamptz GROUP BY 1, 2
            UNION ALL
            SELECT user_id, date, requests, failed, 0, 0, 0, 0, 0
              FROM usage_userday
             WHERE date < (%(raw_day)s::timestamptz AT TIME ZONE 'UTC')::date AND requests > 0
            UNION ALL
            SELECT user_id, (settled_at AT TIME ZONE 'UTC')::date, 0, 0, {CALLS_OF_USER}
              FROM usage_ledgerentry WHERE settled_at IS NOT NULL GROUP BY 1, 2
        """,
    ),
    SumTable(
        name="daily traffic",
        table="usage_dailytraffic",
        keys=("date",),
        sums=("requests", "client_errors", "server_errors", "active_users"),
        histogram="latencies",
        recounted=f"""
            SELECT date, count(DISTINCT user_id) AS active_users, {TRAFFIC}
              FROM (SELECT (at AT TIME ZONE 'UTC')::date AS date, user_id, status, {BUCKET} AS bucket
                      FROM usage_requestrecord WHERE at >= %(raw_day)s::timestamptz) AS answered
             GROUP BY 1
            UNION ALL
            SELECT date, active_users, requests, client_errors, server_errors, latencies
              FROM usage_dailytraffic WHERE date < (%(raw_day)s::timestamptz AT TIME ZONE 'UTC')::date
        """,
    ),
    SumTable(
        name="daily cost",
        table="usage_dailycost",
        keys=("date", "model", "organization_id"),
        sums=("calls", "unpriced_calls", "input_tokens", "output_tokens", "cost_micros"),
        recounted=COSTS_OF_DAYS,
    ),
    SumTable(
        name="spending",
        table="usage_spending",
        keys=("user_id", "organization_id", "month", "day"),
        sums=("month_tokens", "month_cost_micros", "day_tokens", "reserved_tokens"),
        # The count of a past period is ignored.
        stored="""(
            SELECT ctid, user_id, organization_id, %(month)s::date AS month, %(day)s::date AS day, reserved_tokens,
                   CASE WHEN month = %(month)s THEN month_tokens ELSE 0 END AS month_tokens,
                   CASE WHEN month = %(month)s THEN month_cost_micros ELSE 0 END AS month_cost_micros,
                   CASE WHEN day = %(day)s THEN day_tokens ELSE 0 END AS day_tokens
              FROM usage_spending
        ) AS current""",
        recounted="""
            SELECT payer.user_id, payer.organization_id, %(month)s::date AS month, %(day)s::date AS day,
                   coalesce(sum(reserved_tokens) FILTER (WHERE settled_at IS NULL), 0) AS reserved_tokens,
                   coalesce(sum(input_tokens + output_tokens) FILTER (WHERE settled_at IS NOT NULL), 0) AS month_tokens,
                   coalesce(sum(cost_micros) FILTER (WHERE settled_at IS NOT NULL), 0) AS month_cost_micros,
                   coalesce(sum(input_tokens + output_tokens) FILTER (
                       WHERE settled_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'), 0) AS day_tokens
              FROM usage_ledgerentry AS entry
             CROSS JOIN LATERAL (VALUES (entry.user_id, NULL::bigint), (NULL, entry.organization_id))
                   AS payer (user_id, organization_id)
             WHERE (settled_at >= %(month)s::date::timestamp AT TIME ZONE 'UTC' OR settled_at IS NULL)
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
    missing: int
    wrong: int
    surplus: int
    sums: dict[str, tuple[int, int]]
    examples: list[str]

    @property
    def differences(self) -> int:
        return self.missing + self.wrong + self.surplus


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


@transaction.atomic
def _recount(table: SumTable, *, rebuild: bool) -> Rebuilt:
    position = RecorderPosition.objects.select_for_update().get(pk=1)
    with connection.cursor() as cursor:
        if rebuild:
            cursor.execute(f"LOCK TABLE {table.table} IN SHARE ROW EXCLUSIVE MODE")
        # Enough to sort millions of groups in memory instead of on disk.
        cursor.execute("SET LOCAL work_mem = '128MB'")
        rebuilt = _compare(cursor, table, _moments(position))
        if rebuild:
            _replace(cursor, table)
    return rebuilt


def _moments(position: RecorderPosition) -> dict[str, Any]:
    """Parameters of the queries. The hour and the day in which the request records begin are incomplete."""
    since, day = position.raw_since, today()
    return {
        "raw_hour": "-infinity" if since is None else _round_up(since, timedelta(hours=1)),
        "raw_day": "-infinity" if since is None else _round_up(since, timedelta(days=1)),
        "costs_from": "-infinity",
        "costs_until": position.costs_until or "-infinity",
        "month": day.replace(day=1),
        "day": day,
    }


def _round_up(moment: datetime, step: timedelta) -> datetime:
    """The next multiple of the step since 1970, UTC; the moment itself if it is one."""
    return moment + (datetime(1970, 1, 1, tzinfo=UTC) - moment) % step


def _compare(cursor: CursorWrapper, table: SumTable, moments: dict[str, Any]) -> Rebuilt:
    """Create the temporary table of differing keys in one statement (one snapshot), and describe the differences."""
    keys, stored = ", ".join(table.keys), table.stored or table.table
    cursor.execute(
        f"""
        CREATE TEMPORARY TABLE difference ON COMMIT DROP AS
        SELECT * FROM (
            SELECT {keys}, array_agg(place) FILTER (WHERE place IS NOT NULL) AS places,
                   bool_or(place IS NULL) AS expected, {_sums(table, "place IS NOT NULL")} AS was,
                   {_sums(table, "place IS NULL")} AS correct
              FROM (
                  SELECT ctid AS place, {table.columns} FROM {stored}
                  UNION ALL
                  SELECT NULL, {table.columns} FROM ({table.recounted}) AS recounted
              ) AS both_sides
             GROUP BY {keys}
        ) AS compared WHERE was <> correct
        """,
        moments,
    )
    totals = ", ".join(f"coalesce(sum({name}), 0)" for name in table.sums)
    changes = ", ".join(f"coalesce(sum(correct[{n}] - was[{n}]), 0)" for n in range(1, len(table.sums) + 1))
    cursor.execute(
        f"""
        SELECT count(*) FILTER (WHERE places IS NULL), count(*) FILTER (WHERE places IS NOT NULL AND expected),
               count(*) FILTER (WHERE NOT expected), (SELECT ARRAY[{totals}] FROM {stored}), ARRAY[{changes}]
          FROM difference
        """,
        moments,
    )
    missing, wrong, surplus, before, added = cursor.fetchone()
    sums = {name: (int(was), int(was + more)) for name, was, more in zip(table.sums, before, added, strict=True)}
    return Rebuilt(table.name, missing, wrong, surplus, sums, _examples(cursor, table))


def _sums(table: SumTable, condition: str) -> str:
    """The array of a key's sums, with the histogram after them. There is one histogram for each key."""
    sums = ", ".join(f"coalesce(sum({name}) FILTER (WHERE {condition}), 0)" for name in table.sums)
    buckets = f" || coalesce(max({table.histogram}) FILTER (WHERE {condition}), '{{}}')" if table.histogram else ""
    return f"ARRAY[{sums}]::bigint[]{buckets}"


def _replace(cursor: CursorWrapper, table: SumTable) -> None:
    # ctids are stable, because the table is locked.
    cursor.execute(f"DELETE FROM {table.table} WHERE ctid = ANY(ARRAY(SELECT unnest(places) FROM difference))")
    values = [*table.keys, *(f"correct[{n}]" for n in range(1, len(table.sums) + 1))]
    if table.histogram:
        values.append(f"correct[{len(table.sums) + 1}:]")
    rows = f"SELECT {', '.join(values)} FROM difference WHERE expected"
    cursor.execute(f"INSERT INTO {table.table} ({table.columns}) {rows}")


def _examples(cursor: CursorWrapper, table: SumTable) -> list[str]:
    keys = ", ".join(table.keys)
    cursor.execute(f"SELECT {keys}, was, correct FROM difference ORDER BY {keys} LIMIT {EXAMPLES}")
    examples = []
    for *values, was, correct in cursor.fetchall():
        named = zip(table.keys, values, strict=True)
        row = ", ".join(f"{name.removesuffix('_id')} {_short(value)}" for name, value in named)
        sums = zip(table.sums, was, correct, strict=False)
        changes = [f"{name} {before} -> {after}" for name, before, after in sums if before != after]
        examples.append(f"{row}: {', '.join(changes) or table.histogram}")
    return examples


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H}h"
    return "-" if value is None else str(value)
