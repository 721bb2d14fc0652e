"""Delete unused pictures."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from conversations.attachments.files import delete_files
from conversations.attachments.queries import ownerless_files, unused_attachments
from conversations.attachments.services import delete_old_keys, delete_unused, forget_deleted_conversations


class Command(BaseCommand):
    help = (
        "Delete the pictures of deleted conversations, those that were never sent within 24 hours, and files that a "
        "process left when it died. May be run at any time, daily for instance."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are to delete")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            pictures, files = len(unused_attachments()), len(ownerless_files())
            self.stdout.write(
                f"{pictures} unused pictures and {files} files of none; conversations were not looked at."
            )
            return
        forget_deleted_conversations()
        pictures = sum(delete_unused(attachment_id) for attachment_id in unused_attachments())
        ownerless = ownerless_files()
        for attachment_id in ownerless:
            delete_files(attachment_id)
        delete_old_keys()
        self.stdout.write(f"Deleted {pictures} unused pictures and {len(ownerless)} without a row.")
