"""Restores an archive into empty stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django.db import transaction

from accounts.audit import record_event
from accounts.lifecycle.deletion import erase_again
from accounts.login.sessions import end_sessions_of_all_users
from accounts.models import ApiKey, AuditEvent
from conversations import transcript_repository as transcripts
from conversations.attachments.files import RENDERINGS, has_files, restore_file
from edgechat.management.backup import postgresql
from edgechat.management.backup.archive import BadArchive, Part, documents_in, read_archive
from edgechat.management.backup.backup import Report, verify
from edgechat.stores.redis import redis_client
from usage.models import Process


class NotEmpty(Exception):
    """A store has data, with ids that those of the archive could collide with."""


@dataclass(frozen=True)
class Restored:
    manifest: dict[str, Any]
    sessions_ended: int
    live_api_keys: int
    documents_dropped: int
    all_deletions_done: bool


def restore(opened: Callable[[], AbstractContextManager[Any]], *, report: Report) -> Restored:
    """Check an archive and the stores, then write the archive to the stores. `opened` opens it anew for each pass.

    Nothing is written unless the archive is whole and all stores are empty. Raises BadArchive, NotEmpty, and the errors
    of the stores. A restore that fails later leaves PostgreSQL without rows.
    """
    report("Checking the archive")
    with opened() as file:
        manifest = verify(file)
    postgresql.refuse_migrations(manifest)
    refuse_filled_stores()
    report("Making the tables and the indexes")
    postgresql.migrate_to(manifest)
    transcripts.ensure_indexes()
    report("Writing the stores")
    documents = transcripts.RestoredTranscripts()
    with transaction.atomic():
        postgresql.empty_tables(manifest)
        again: list[dict[str, Any]] = []
        with opened() as file:
            for part in read_archive(file, into=again):
                _write_part(part, manifest, documents)
        if again != [manifest]:
            raise BadArchive("The archive has changed since it was checked.")
        postgresql.advance_sequences(manifest)
    report("Migrating to this version")
    call_command("migrate", verbosity=0)
    with transaction.atomic():
        # The processes of the former system have none of their replies and calls in this one: others take them over.
        Process.objects.update(dead=True)
        # Tokens were renewed and ended after the backup. Renewed ones would look stolen, ended ones would be valid.
        ended = end_sessions_of_all_users(reason="restored")
        record_event(AuditEvent.Event.SESSION_ENDED, sessions=ended, reason="restored")
    # Their documents were copied before the accounts were deleted.
    done = erase_again(since=datetime.fromisoformat(manifest["started_at"]))
    return Restored(manifest, ended, ApiKey.objects.live().count(), documents.dropped, done)


def refuse_filled_stores() -> None:
    """Raise NotEmpty unless all stores are empty; rows that migrations make do not count."""
    found = [
        *(f"PostgreSQL has rows in {table}" for table in postgresql.filled_tables()[:3]),
        *(f"MongoDB has documents in {name}" for name in transcripts.filled_collections()),
    ]
    if has_files():
        found.append("the storage has pictures")
    # Of another system, it could have answers and streams for the same ids.
    if redis_client().dbsize():
        found.append("Redis has keys")
    if found:
        raise NotEmpty("; ".join(found))


def _write_part(part: Part, manifest: Mapping[str, Any], documents: transcripts.RestoredTranscripts) -> None:
    kind, _, name = part.section.partition("/")
    if kind == "postgresql":
        postgresql.load_rows(manifest, name, part.data)
    elif kind == "mongodb":
        try:
            documents.write(name, list(documents_in(part.data)))
        except (KeyError, ValueError, TypeError) as error:
            raise BadArchive(f"The archive has a document that no backup has ({error!r}).") from error
    else:
        attachment_id, _, file = part.name.partition(".")
        if file not in RENDERINGS:
            raise BadArchive(f"The archive has a file that no backup has: {part.name}")
        restore_file(UUID(hex=attachment_id), file, part.data)
