"""Deletes sessions and API keys that ended or expired long ago, and token pairs that were replaced long ago."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.lifecycle.pruning import (
    LEAST_SESSION_DAYS,
    SESSION_DAYS,
    delete_old_api_keys,
    delete_old_sessions,
    delete_old_token_pairs,
    old_api_keys,
    old_sessions,
    old_token_pairs,
)


class Command(BaseCommand):
    help = (
        "Delete sessions and API keys that ended or expired more than --days ago, and older token pairs that were "
        "replaced. Live ones stay. It can run at any time, for example daily."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days", type=int, default=SESSION_DAYS, help="how many days to keep (default: %(default)s)"
        )
        parser.add_argument("--dry-run", action="store_true", help="only print how much would be deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        if not LEAST_SESSION_DAYS <= days <= 36500:
            raise CommandError("--days must be from 2 to 36500.")
        before = timezone.now() - timedelta(days=days)
        if options["dry_run"]:
            sessions, pairs, keys = (
                old(before=before).count() for old in (old_sessions, old_token_pairs, old_api_keys)
            )
            self.stdout.write(
                f"{sessions} sessions, {pairs} replaced token pairs and {keys} API keys are older than {days} days."
            )
            return
        pairs = sum(delete_old_token_pairs(before=before))
        sessions = sum(delete_old_sessions(before=before))
        keys = sum(delete_old_api_keys(before=before))
        self.stdout.write(
            f"Deleted {sessions} sessions, {pairs} replaced token pairs and {keys} API keys older than {days} days."
        )
