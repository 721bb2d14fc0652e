"""Create the missing indexes of the transcript database."""

from typing import Any

from django.core.management.base import BaseCommand

from conversations.transcript_repository import ensure_indexes


class Command(BaseCommand):
    help = "Make the MongoDB indexes that are missing. May be run at any time, as often as you like."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{len(ensure_indexes())} indexes are there.")
