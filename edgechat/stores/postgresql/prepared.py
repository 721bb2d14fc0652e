"""Statements that PostgreSQL parses and plans once for each connection, for what nearly every request asks."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.abc import Params
from psycopg.errors import FeatureNotSupported, InvalidSqlStatementName

from edgechat.telemetry import spans

# A migration changed the type of a column, or another program has deallocated the statement.
_OUTDATED = (FeatureNotSupported, InvalidSqlStatementName)


def fetch_row(statement: str, values: Params) -> tuple[Any, ...] | None:
    """The first row, or None. Django's cursors write the values into the statement, which is then another each time.

    Columns come in PostgreSQL's binary form, so `inet` and `jsonb` are not what Django makes of them.
    """
    wrapper: Any = connections[DEFAULT_DB_ALIAS]
    with spans.store_span("postgresql", "SELECT"), wrapper.wrap_database_errors:
        if wrapper.connection is not None or wrapper.pool is None:
            wrapper.ensure_connection()
            return _fetch_row(wrapper.connection, statement, values)
        # Nearly all requests begin with such a statement, and most have no other: the connection returns at once.
        lent = wrapper.get_new_connection({})
        try:
            if not lent.autocommit:
                lent.autocommit = True
            return _fetch_row(lent, statement, values)
        finally:
            wrapper.pool.putconn(lent)


def _fetch_row(connection: Any, statement: str, values: Params) -> tuple[Any, ...] | None:
    cursor = psycopg.Cursor(connection)
    try:
        cursor.execute(statement, values, prepare=True, binary=True)
    except _OUTDATED:
        cursor.execute("DEALLOCATE ALL")
        cursor.execute(statement, values, prepare=True, binary=True)
    return cursor.fetchone()
