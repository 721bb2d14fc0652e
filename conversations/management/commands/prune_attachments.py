from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from conversations.attachments.queries import ownerless_files, unused_attachments
from conversations.attachments.services import prune_pictures
from conversations.imports.services import prune_imports


class Command(BaseCommand):
    help = (
        "Delete the pictures of deleted conversations, pictures that were not sent within 24 hours, files without a "
        "row, and imports that finished 30 days ago. This can be repeated at any time, for example daily."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count them.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            pictures = sum(1 for _ in unused_attachments())
            files = sum(each is not None for each in ownerless_files())
            self.stdout.write(f"{pictures} unused pictures and {files} without a row; conversations were not checked.")
            return
        self.stdout.write(f"Deleted {sum(prune_pictures())} pictures that nothing uses.")
        self.stdout.write(f"Deleted {sum(prune_imports())} finished imports and files of imports.")
