from typing import Any

from django.core.management.base import BaseCommand

from conversations.transcript_repository import ensure_indexes


class Command(BaseCommand):
    help = "Create the missing MongoDB indexes. This can be repeated at any time."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{len(ensure_indexes())} indexes exist.")
