"""Statements that PostgreSQL parses and plans once for each connection, for what nearly every request asks."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.abc import Params
from psycopg.errors import FeatureNotSupported, InvalidSqlStatementName

# A migration changed the type of a column, or another program has deallocated the statement.
_OUTDATED = (FeatureNotSupported, InvalidSqlStatementName)


def fetch_row(statement: str, values: Params) -> tuple[Any, ...] | None:
    """The first row, or None. Django's cursors write the values into the statement, which is then another each time.

    Columns come in PostgreSQL's binary form, so `inet` and `jsonb` are not what Django makes of them.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor = psycopg.Cursor(connection.connection)
        try:
            cursor.execute(statement, values, prepare=True, binary=True)
        except _OUTDATED:
            cursor.execute("DEALLOCATE ALL")
            cursor.execute(statement, values, prepare=True, binary=True)
        return cursor.fetchone()
