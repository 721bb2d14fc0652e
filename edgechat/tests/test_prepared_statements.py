"""`edgechat.stores.postgresql.prepared`: a statement is prepared once, and again after what it reads has changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import ProgrammingError, connection

from edgechat.stores.postgresql.prepared import fetch_row

STATEMENT = "SELECT word FROM words WHERE number = %s"


@pytest.fixture
def words(shared_servers: None) -> Iterator[None]:
    """A table that only this test's connection has, which prepares statements as those of web processes do."""
    connection.ensure_connection()
    connection.connection.prepare_threshold = 5
    run("CREATE TEMPORARY TABLE words (number bigint, word varchar(10))")
    run("INSERT INTO words VALUES (1, 'one'), (2, 'two')")
    yield
    connection.close()


def run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def prepared() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        return int(cursor.fetchone()[0])


def test_a_statement_is_prepared_once(words: None) -> None:
    assert [fetch_row(STATEMENT, [number]) for number in (1, 2, 3)] == [("one",), ("two",), None]
    assert prepared() == 1


# In a block, because psycopg itself notices an ALTER TABLE of its own connection.
CHANGED_TYPE = "DO 'BEGIN ALTER TABLE words ALTER word TYPE varchar(20); END'"


@pytest.mark.parametrize("change", [CHANGED_TYPE, "DEALLOCATE PREPARE _pg3_0"])
def test_a_statement_is_prepared_again_after_a_change(words: None, change: str) -> None:
    assert fetch_row(STATEMENT, [1]) == ("one",)
    run(change)
    assert fetch_row(STATEMENT, [2]) == ("two",)
    assert prepared() == 1


def test_a_faulty_statement_raises_django_s_exception(words: None) -> None:
    with pytest.raises(ProgrammingError):
        fetch_row("SELECT nothing FROM words WHERE number = %s", [1])
