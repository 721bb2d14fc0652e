"""Imports the users of an older backend, with their ids and password hashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from django.db import connection, transaction

from accounts.addresses import email_key
from accounts.lifecycle.imported_rows import ImportedUser, Refused
from accounts.models import AuditEvent, User

ROWS_PER_BATCH = 1000


@dataclass
class Outcome:
    """`present`: users that exist already and are unchanged. `refused`: (line, reason)."""

    imported: int = 0
    present: int = 0
    staff: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


def import_users(rows: Iterable[ImportedUser | Refused], *, dry_run: bool = False) -> Outcome:
    """Store new users, one transaction per thousand rows. Existing users stay unchanged, and no password is hashed."""
    outcome, rest = Outcome(), iter(rows)
    seen: dict[int | str, int] = {}
    while batch := list(islice(rest, ROWS_PER_BATCH)):
        outcome.refused += [(row.line, row.reason) for row in batch if isinstance(row, Refused)]
        with transaction.atomic(), connection.cursor() as cursor:
            # The lock prevents registrations between the check and the insertion, and the use of an id that is about to
            # be inserted.
            cursor.execute("LOCK TABLE accounts_user IN SHARE ROW EXCLUSIVE MODE")
            new = list(_new_ones([row for row in batch if isinstance(row, ImportedUser)], seen, outcome))
            outcome.imported += len(new)
            outcome.staff += sum(row.is_staff for row in new)
            if new and not dry_run:
                _insert(new)
    outcome.refused.sort()
    return outcome


def _new_ones(rows: list[ImportedUser], seen: dict[int | str, int], outcome: Outcome) -> Iterator[ImportedUser]:
    """The rows that can be stored. The results of the other rows go into `outcome`."""
    keys = [email_key(row.email) for row in rows]
    by_key = {user.email_key: user for user in User.objects.filter(email_key__in=keys)}
    holders = User.objects.in_bulk([row.id for row in rows if row.id is not None])
    for row, key in zip(rows, keys, strict=True):
        holder = by_key.get(key)
        holder_of_id = holders.get(row.id) if row.id is not None else None
        if key in seen or row.id in seen:
            first = seen[key] if key in seen else seen[row.id]  # type: ignore[index]
            outcome.refused.append((row.line, f"the same e-mail or id is on line {first}"))
            continue
        seen[key] = row.line
        if row.id is not None:
            seen[row.id] = row.line
        if holder is not None and row.id in (None, holder.id):
            outcome.present += 1
        elif holder is not None:
            outcome.refused.append((row.line, f"{row.email} has the id {holder.id} here"))
        elif holder_of_id is not None:
            outcome.refused.append((row.line, f"the id {row.id} belongs to another user here"))
        else:
            yield row


def _insert(rows: list[ImportedUser]) -> None:
    largest = max((row.id for row in rows if row.id is not None), default=0)
    with connection.cursor() as cursor:
        # Advance the sequence before rows without an id get one. The table lock keeps other processes from the
        # sequence.
        cursor.execute(
            """
            SELECT setval('accounts_user_id_seq', %(largest)s)
              FROM accounts_user_id_seq WHERE last_value < %(largest)s
            """,
            {"largest": largest},
        )
    users = User.objects.bulk_create([_user(row) for row in rows])
    created = [(user.pk, row.created_at) for user, row in zip(users, rows, strict=True) if row.created_at is not None]
    _set_creation(created)
    AuditEvent.objects.bulk_create(
        AuditEvent(event=AuditEvent.Event.REGISTERED, user_id=user.pk, details={"imported": True}) for user in users
    )


def _user(row: ImportedUser) -> User:
    return User(
        id=row.id,
        email=row.email,
        password=row.password,
        full_name=row.full_name,
        is_staff=row.is_staff,
        is_active=row.is_active,
    )


def _set_creation(created: list[tuple[Any, datetime]]) -> None:
    """Set `created_at` afterwards, because Django writes the current time on insertion."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE accounts_user SET created_at = known.at
              FROM unnest(%s::bigint[], %s::timestamptz[]) AS known(id, at) WHERE accounts_user.id = known.id
            """,
            [[user_id for user_id, _ in created], [at for _, at in created]],
        )
