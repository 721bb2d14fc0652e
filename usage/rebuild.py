"""Recounting the sums of usage from the request records and the ledger.

Nothing is stopped for it. Requests go on: while the recorder's position is locked they wait in Redis, where readers
find them. Calls go on too. A call writes its ledger row and the sums in one transaction, so in one snapshot the
difference between the ledger and the sums is what is wrong with them and nothing else; that difference is added to
what the sums have become. Each table has a transaction of its own, so that none holds one table and waits for another.
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

from usage.models import RecorderPosition
from usage.rebuilt_tables import TABLES, RebuiltTable

EXAMPLES = 5
ATTEMPTS = 5


@dataclass(frozen=True)
class Rebuilt:
    """What was wrong with a table: rows that were missing, that said something else, and that should not be there.

    `sums` has for each column what all rows said together, and what they say when they are mended; `examples` are
    lines for people.
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
    """Recount each of TABLES, and tell what was wrong with it when it is mended; a dry run changes nothing.

    Request counts go back as far as the request records do: what is older stays. An account's records are deleted with
    it, so its requests are missing from the days that are recounted. Raises OperationalError or
    IntegrityError when a table could not be mended; those before it are.
    """
    for table in TABLES:
        yield _rebuild(table, dry_run=dry_run)


def _rebuild(table: RebuiltTable, *, dry_run: bool) -> Rebuilt:
    for _ in range(ATTEMPTS - 1):
        try:
            return _rebuild_once(table, dry_run=dry_run)
        except (OperationalError, IntegrityError) as error:
            # An account or an organization was deleted meanwhile, which takes its rows in an order of its own.
            if not isinstance(error.__cause__, DeadlockDetected | ForeignKeyViolation):
                raise
    return _rebuild_once(table, dry_run=dry_run)


def _rebuild_once(table: RebuiltTable, *, dry_run: bool) -> Rebuilt:
    with transaction.atomic(), connection.cursor() as cursor:
        position = RecorderPosition.objects.select_for_update().get(pk=1)
        if table.lock:
            cursor.execute(table.lock)
        moments = _moments(position)
        # For millions of groups, which are sorted on the disk otherwise.
        cursor.execute("SET LOCAL work_mem = '128MB'")
        cursor.execute(_difference(table), moments)
        cursor.execute("ANALYZE difference")
        rebuilt = _describe(table, cursor, moments)
        if rebuilt.differences and not dry_run:
            for statement in table.mend:
                cursor.execute(statement, moments)
        cursor.execute("DROP TABLE difference")
    return rebuilt


def _moments(position: RecorderPosition) -> dict[str, datetime | str]:
    """What the queries are about. Of the hour and the day in which the request records begin a part is missing."""
    today = _midnight(timezone.now().astimezone(UTC).date())
    since, until = position.raw_since, position.costs_until
    return {
        "raw_hour": "-infinity" if since is None else _round_up(since, timedelta(hours=1)),
        "raw_day": "-infinity" if since is None else _round_up(since, timedelta(days=1)),
        "costs_until": "-infinity" if until is None else _midnight(until),
        "month": today.replace(day=1),
        "day": today,
    }


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _round_up(moment: datetime, step: timedelta) -> datetime:
    """The next multiple of the step since 1970, UTC; the moment itself if it is one."""
    return moment + (datetime(1970, 1, 1, tzinfo=UTC) - moment) % step


def _difference(table: RebuiltTable) -> str:
    """The statement that makes the temporary table of the rows that are wrong; one statement, so one snapshot."""
    keys = ", ".join(table.keys)
    columns = ", ".join((keys, *table.sums, *([table.histogram] if table.histogram else [])))
    compared, wrong = [], []
    for name in table.sums:
        was, recounted = (f"coalesce(sum({name}) FILTER (WHERE {side}), 0)" for side in ("stored", "NOT stored"))
        compared.append(f"{was} AS was_{name}, {recounted} AS is_{name}")
        wrong.append(f"{was} <> {recounted}")
    if table.histogram:
        # Of which there is one for a key.
        was, recounted = (f"max({table.histogram}) FILTER (WHERE {side})" for side in ("stored", "NOT stored"))
        compared.append(f"{was} AS was_{table.histogram}, {recounted} AS is_{table.histogram}")
        wrong.append(f"{was} IS DISTINCT FROM {recounted}")
    return f"""
        CREATE TEMPORARY TABLE difference ON COMMIT DROP AS
        SELECT {keys}, max(id) FILTER (WHERE stored) AS row_id, {", ".join(compared)}
          FROM (
              SELECT true AS stored, id, {columns} FROM ({table.stored}) AS stored_rows
              UNION ALL
              SELECT false, NULL, {columns} FROM ({table.recounted}) AS recounted_rows
          ) AS both_sides
         GROUP BY {keys}
        HAVING {" OR ".join(wrong)}
    """


def _describe(table: RebuiltTable, cursor: CursorWrapper, moments: dict[str, Any]) -> Rebuilt:
    nothing = "false" if table.keeps_empty else " AND ".join(f"is_{name} = 0" for name in table.sums)
    changes = ", ".join(f"coalesce(sum(is_{name} - was_{name}), 0)" for name in table.sums)
    cursor.execute(
        f"""
        SELECT count(*) FILTER (WHERE row_id IS NULL), count(*) FILTER (WHERE row_id IS NOT NULL AND NOT ({nothing})),
               count(*) FILTER (WHERE row_id IS NOT NULL AND {nothing}), {changes}
          FROM difference
        """
    )
    made, changed, removed, *added = cursor.fetchone()
    totals = ", ".join(f"coalesce(sum({name}), 0)" for name in table.sums)
    cursor.execute(f"SELECT {totals} FROM ({table.stored}) AS stored_rows", moments)
    before = cursor.fetchone()
    return Rebuilt(
        table.name,
        made,
        changed,
        removed,
        {name: (int(total), int(total + more)) for name, total, more in zip(table.sums, before, added, strict=True)},
        _examples(table, cursor),
    )


def _examples(table: RebuiltTable, cursor: CursorWrapper) -> list[str]:
    keys = ", ".join(table.keys)
    compared = ", ".join(f"was_{name}, is_{name}" for name in table.sums)
    cursor.execute(f"SELECT {keys}, {compared} FROM difference ORDER BY {keys} LIMIT {EXAMPLES}")
    examples = []
    for row in cursor.fetchall():
        where = [f"{name.removesuffix('_id')} {_short(value)}" for name, value in zip(table.keys, row, strict=False)]
        values = row[len(table.keys) :]
        pairs = zip(table.sums, values[::2], values[1::2], strict=True)
        said = [f"{name} {was} -> {recounted}" for name, was, recounted in pairs if was != recounted]
        examples.append(f"{', '.join(where)}: {', '.join(said or [table.histogram])}")
    return examples


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H}h"
    return "-" if value is None else str(value)
