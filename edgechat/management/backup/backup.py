"""Copies all stores into an archive: MongoDB, then PostgreSQL, then the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pymongo
from django.utils import timezone

from conversations import transcript_repository as transcripts
from conversations.attachments.files import RENDERINGS, read_file
from conversations.models import Attachment
from edgechat import __version__
from edgechat.management.backup import postgresql
from edgechat.management.backup.archive import ArchiveWriter, BadArchive, Collected, Readable, read_archive
from edgechat.management.backup.places import BucketPlace, FolderPlace
from edgechat.stores.mongo import database

_IDS_AT_ONCE = 1000
# mongodump would read all conversations before their messages: docs/decisions/0034-backups.md.
_MONGODB_BY = f"pymongo {pymongo.version}"
Report = Callable[[str], None]


def back_up(place: FolderPlace | BucketPlace, *, report: Report) -> dict[str, Any]:
    """Write an archive and read it again; returns its manifest. An archive that fails is deleted.

    Raises BadArchive if what was stored is not what was written, and the errors of the stores and of the place.
    """
    for told in place.remove_leftovers():
        report(told)
    with place.writing() as file:
        archive = ArchiveWriter(file)
        try:
            written = _write(archive, report=report)
        except BaseException:
            archive.abandon()
            raise
    try:
        report("Reading the archive again")
        with place.reading() as stored:
            if verify(stored) != written:
                raise BadArchive("The archive is not the one that was written.")
        place.keep()
    except BaseException:
        place.discard()
        raise
    return written


def verify(file: Readable) -> dict[str, Any]:
    """The manifest of a whole, unchanged archive. Raises BadArchive."""
    manifests: list[dict[str, Any]] = []
    for _ in read_archive(file, into=manifests):
        pass
    return manifests[0]


def _write(archive: ArchiveWriter, *, report: Report) -> dict[str, Any]:
    # MongoDB comes first: its conversations name users, and a copy of PostgreSQL that is older would not have them.
    # Their ids would be given again, and with them their conversations.
    started_at = timezone.now()
    report(f"Copying MongoDB by {_MONGODB_BY}")
    _copy_transcripts(archive)
    rows = postgresql.copy_tables(archive, report=report)
    report("Copying pictures")
    missing = _copy_pictures(archive)
    return archive.finish(
        {
            "edgechat": __version__,
            "started_at": started_at.isoformat(),
            "ended_at": timezone.now().isoformat(),
            "mongodb": database().command("buildInfo")["version"],
            "mongodb_by": _MONGODB_BY,
            "missing_pictures": missing,
            **rows,
        }
    )


def _copy_transcripts(archive: ArchiveWriter) -> None:
    part = Collected(archive, "")
    for collection, document in transcripts.copy_everything():
        section = f"mongodb/{collection}"
        if section != part.section:
            part.flush()
            part = Collected(archive, section)
        part.add(document)
    part.flush()


def _copy_pictures(archive: ArchiveWriter) -> int:
    """Write the files of all pictures; returns how many pictures lack one, having been deleted meanwhile."""
    missing = 0
    for attachment_id in _attachment_ids():
        for rendering in RENDERINGS:
            found = read_file(attachment_id, rendering)
            if found is None:
                missing += 1
                break
            archive.add("pictures", found[0], count=1, name=f"{attachment_id.hex}.{rendering}")
    return missing


def _attachment_ids() -> Iterator[UUID]:
    """The ids of the rows as they are now: a picture that came after the copy of PostgreSQL is pruned after a day."""
    last = UUID(int=0)
    while ids := list(
        Attachment.objects.filter(id__gt=last).order_by("id").values_list("id", flat=True)[:_IDS_AT_ONCE]
    ):
        yield from ids
        last = ids[-1]
