"""Deletes rows of the audit log that are older than a year."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.lifecycle.pruning import AUDIT_DAYS, delete_old_events, old_events


class Command(BaseCommand):
    help = "Delete rows of the audit log that are older than --days. It can run at any time, for example daily."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=AUDIT_DAYS, help="how many days to keep (default: %(default)s)")
        parser.add_argument("--dry-run", action="store_true", help="only print how many rows would be deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        if not 1 <= days <= 36500:
            raise CommandError("--days must be from 1 to 36500.")
        before = timezone.now() - timedelta(days=days)
        if options["dry_run"]:
            self.stdout.write(f"{old_events(before=before).count()} audit events are older than {days} days.")
            return
        self.stdout.write(f"Deleted {sum(delete_old_events(before=before))} audit events older than {days} days.")
