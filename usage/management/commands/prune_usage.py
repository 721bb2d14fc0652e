"""Deletes the records of single requests, and the sums of early refusals, that are older than USAGE_RAW_DAYS."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from usage.requests.queries import count_old_requests
from usage.requests.refusals import count_old_refusals, delete_old_refusals
from usage.requests.services import delete_old_requests

PRINT_EVERY_SECONDS = 5.0


class Command(BaseCommand):
    help = (
        "Delete the records of single requests, and the hourly sums of early refusals, that are older than "
        "USAGE_RAW_DAYS. The other sums and the ledger stay. You can run it at any time, for example daily."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, help="how many days of records to keep (default: USAGE_RAW_DAYS)")
        parser.add_argument("--dry-run", action="store_true", help="only print how many records would be deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        days = settings.USAGE_RAW_DAYS if options["days"] is None else options["days"]
        if not 1 <= days <= 36500:
            raise CommandError("--days must be from 1 to 36500.")
        before = timezone.now() - timedelta(days=days)
        if options["dry_run"]:
            self.stdout.write(f"{count_old_requests(before=before)} request records are older than {days} days.")
            self.stdout.write(f"{count_old_refusals(before=before)} sums of early refusals are older than {days} days.")
            return
        deleted, printed_at = 0, time.monotonic()
        for size in delete_old_requests(before=before):
            deleted += size
            if time.monotonic() - printed_at >= PRINT_EVERY_SECONDS:
                printed_at = time.monotonic()
                self.stdout.write(f"{deleted} so far")
                self.stdout.flush()
        self.stdout.write(f"Deleted {deleted} request records that were older than {days} days.")
        sums = sum(delete_old_refusals(before=before))
        self.stdout.write(f"Deleted {sums} sums of early refusals that were older than {days} days.")
