"""PostgreSQL's part of an archive: the rows of all tables as COPY writes them, all from one snapshot.

The tables themselves are made by the migrations, so an archive can be restored into a later version of PostgreSQL and
of EdgeChat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from psycopg import sql

from edgechat.management.backup.archive import ArchiveWriter, BadArchive, Collected
from edgechat.management.backup.pg_dump import dump_rows, find_pg_dump

# Rows of these tables are made by migrations, and replaced by those of the archive.
SEEDED = frozenset(
    {
        "auth_group",
        "auth_group_permissions",
        "auth_permission",
        "django_content_type",
        "usage_modelprice",
        "usage_recorderposition",
    }
)
# A restored system gives no id again that was given after the backup: others may still know it.
ID_GAP = 1_000_000


def copy_tables(archive: ArchiveWriter, *, report: Callable[[str], None]) -> dict[str, Any]:
    """Write all rows, with pg_dump where it can be used; returns what the manifest says of PostgreSQL.

    Raises DatabaseError and DumpFailed.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT clock_timestamp(), current_setting('server_version'), pg_export_snapshot()")
        moment, version, snapshot = cursor.fetchone()
        columns = _columns()
        program, found = find_pg_dump(int(version.partition(".")[0]))
        tool = f"pg_dump {found}" if program else f"psycopg {psycopg.__version__}"
        report(f"Copying PostgreSQL by {tool}" if program else f"Copying PostgreSQL by {tool}: {found}")
        part = Collected(archive, "")
        for table, row in dump_rows(program, snapshot, columns) if program else _copy_rows(columns):
            if part.section != f"postgresql/{table}":
                part.flush()
                part = Collected(archive, f"postgresql/{table}")
            part.add(row)
        part.flush()
        # Sequences are no part of a snapshot: they are read last, so that they are beyond all of its rows.
        sequences = _sequences()
    applied = sorted(MigrationRecorder(connection).applied_migrations())
    return {
        "postgresql": version,
        "postgresql_by": tool,
        "snapshot_at": moment.isoformat(),
        "migrations": applied,
        "columns": columns,
        "sequences": sequences,
    }


def _copy_rows(columns: Mapping[str, list[str]]) -> Iterator[tuple[str, bytes | memoryview]]:
    with connection.cursor() as cursor:
        for table, names in columns.items():
            with cursor.copy(sql.SQL("COPY {} ({}) TO STDOUT").format(*_identifiers(table, names))) as rows:
                for row in rows:
                    yield table, row


def unapplied_migrations() -> list[str]:
    executor = MigrationExecutor(connection)
    return [f"{each.app_label}.{each.name}" for each, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


def filled_tables() -> list[str]:
    """The tables that have rows, besides those that migrations make."""
    filled = []
    with connection.cursor() as cursor:
        for table in _tables():
            if table not in SEEDED:
                cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table)))
                if cursor.fetchone()[0]:
                    filled.append(table)
    return filled


def refuse_migrations(manifest: Mapping[str, Any]) -> None:
    """Raise BadArchive unless the tables can be brought to the state in which they were copied."""
    wanted = _migrations(manifest)
    unknown = sorted(wanted - set(MigrationLoader(connection).disk_migrations))
    if unknown:
        raise BadArchive(f"The archive is of a later version of EdgeChat, with the migration {'.'.join(unknown[0])}.")
    surplus = sorted(set(MigrationRecorder(connection).applied_migrations()) - wanted)
    if surplus:
        raise BadArchive(
            f"The archive is of an earlier version, without the migration {'.'.join(surplus[0])}, which this database "
            "has: restore into a database without tables."
        )


def migrate_to(manifest: Mapping[str, Any]) -> None:
    """Bring an empty database to the migrations of the archive."""
    wanted = _migrations(manifest)
    executor = MigrationExecutor(connection)
    graph = executor.loader.graph
    last = [
        node
        for node in sorted(wanted & set(graph.nodes))
        if not any(child in wanted and child[0] == node[0] for child in graph.node_map[node].children)
    ]
    executor.migrate(last)


def empty_tables(manifest: Mapping[str, Any]) -> None:
    """Delete the rows that the migrations have made, and check the archive's tables and columns against these."""
    expected = _columns()
    if _without_order(manifest.get("columns", {})) != _without_order(expected):
        raise BadArchive("The archive's tables are not those of its migrations.")
    with connection.cursor() as cursor:
        tables = sql.SQL(", ").join(map(sql.Identifier, expected))
        cursor.execute(sql.SQL("TRUNCATE {}").format(tables))


def load_rows(manifest: Mapping[str, Any], table: str, data: bytes) -> None:
    """Add rows to a table; within a transaction, at whose end the foreign keys are checked. Raises DatabaseError."""
    names = manifest["columns"].get(table)
    if names is None:
        raise BadArchive(f"The archive has rows of a table that its manifest lacks: {table}")
    with connection.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(*_identifiers(table, names))) as rows:
            rows.write(data)


def advance_sequences(manifest: Mapping[str, Any]) -> None:
    with connection.cursor() as cursor:
        for name in _sequences():
            last = int(manifest["sequences"].get(name) or 0)
            cursor.execute("SELECT setval(%s::regclass, %s)", [f'"{name}"', last + ID_GAP])


def _migrations(manifest: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(str(app), str(name)) for app, name in manifest["migrations"]}


def _tables() -> list[str]:
    return sorted(connection.introspection.django_table_names(only_existing=True, include_views=False))


def _columns() -> dict[str, list[str]]:
    """The columns of each table, without the generated ones, in the table's order, which is that of pg_dump."""
    columns: dict[str, list[str]] = {table: [] for table in _tables()}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT table_name, column_name FROM information_schema.columns
             WHERE table_schema = current_schema() AND is_generated = 'NEVER' AND table_name = ANY(%s)
             ORDER BY table_name, ordinal_position
            """,
            [list(columns)],
        )
        for table, column in cursor.fetchall():
            columns[table].append(column)
    return columns


def _without_order(columns: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {table: sorted(names) for table, names in columns.items()}


def _sequences() -> dict[str, int | None]:
    """The last value of each sequence of a table; None for one that was never used."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT sequencename::text, last_value FROM pg_sequences
             WHERE schemaname = current_schema() AND sequencename::text <> 'django_migrations_id_seq'
             ORDER BY sequencename
            """
        )
        return dict(cursor.fetchall())


def _identifiers(table: str, columns: list[str]) -> Iterator[sql.Composable]:
    yield sql.Identifier(table)
    yield sql.SQL(", ").join(map(sql.Identifier, columns))
