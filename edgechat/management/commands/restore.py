"""Restores an archive of `backup` into empty stores."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from edgechat.management.backup.archive import BadArchive
from edgechat.management.backup.backup import verify
from edgechat.management.backup.places import opened_archive
from edgechat.management.backup.restore import NotEmpty, restore
from edgechat.management.commands.backup import FAULTS
from edgechat.management.diagnosis import without_secrets
from edgechat.stores.redis import RedisError


class Command(BaseCommand):
    help = (
        "Restore an archive of `backup` into empty stores, before the first web process starts. The archive is checked "
        "before anything is written. All sessions end: users log in again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("archive", help="a file, or s3://BUCKET/KEY")
        parser.add_argument("--check", action="store_true", help="only check the archive, and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        opened = partial(opened_archive, options["archive"])
        try:
            if options["check"]:
                with opened() as file:
                    manifest = verify(file)
                self.stdout.write(f"The archive of {manifest['started_at']} is whole.")
                return
            restored = restore(opened, report=self.stdout.write)
        except BadArchive as error:
            raise CommandError(str(error)) from error
        except NotEmpty as error:
            raise CommandError(f"Restore only into empty stores: {error}. Nothing was changed.") from error
        except (*FAULTS, RedisError, ValueError) as error:
            raise CommandError(f"The restore failed: {without_secrets(str(error) or repr(error))}") from error
        for name, section in restored.manifest["sections"].items():
            self.stdout.write(f"{name:40}{section['count']:>12,}")
        self.stdout.write(f"Documents that belonged to nothing when they were copied: {restored.documents_dropped}.")
        self.stdout.write(f"Sessions ended: {restored.sessions_ended}.")
        self.stdout.write(
            f"Valid API keys: {restored.live_api_keys}. One that was ended after the backup is valid again."
        )
        if not restored.all_deletions_done:
            raise CommandError("An account that was deleted during the backup could not be erased: see the log.")
        self.stdout.write(f"Restored the backup of {restored.manifest['started_at']}.")
