from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from conversations.attachments.files import delete_files
from conversations.attachments.queries import ownerless_files, unused_attachments
from conversations.attachments.services import delete_old_keys, delete_unused, forget_deleted_conversations


class Command(BaseCommand):
    help = (
        "Delete the pictures of deleted conversations, pictures that were not sent within 24 hours, and files without "
        "a row. This can be repeated at any time, for example daily."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count them.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            pictures, files = len(unused_attachments()), len(ownerless_files())
            self.stdout.write(f"{pictures} unused pictures and {files} without a row; conversations were not checked.")
            return
        forget_deleted_conversations()
        pictures = sum(delete_unused(attachment_id) for attachment_id in unused_attachments())
        ownerless = ownerless_files()
        for attachment_id in ownerless:
            delete_files(attachment_id)
        delete_old_keys()
        self.stdout.write(f"Deleted {pictures} unused pictures and {len(ownerless)} without a row.")
