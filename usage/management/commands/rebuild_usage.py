"""Recounts the sums of usage and reports the differences."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from tqdm import tqdm

from usage.rebuild import TABLES, Rebuilt, rebuild_usage


class Command(BaseCommand):
    help = (
        "Recount the sums of usage (by the hour, organization and day, costs, and what is used of budgets) from the "
        "request records and the ledger, and say what differed. May be run at any time, while requests are served; "
        "calls to the model that end meanwhile wait while a table that differs is recounted. "
        "Requests of accounts that were deleted since are no longer counted in the traffic of their days."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what differs")

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run = options["dry_run"]
        differences = 0
        with tqdm(total=len(TABLES), unit="table", file=sys.stderr, disable=None, leave=False) as bar:
            bar.set_description(TABLES[0].name)
            try:
                for number, rebuilt in enumerate(rebuild_usage(dry_run=dry_run), 1):
                    bar.clear()
                    self._tell(rebuilt)
                    bar.update()
                    bar.set_description(TABLES[min(number, len(TABLES) - 1)].name)
                    differences += rebuilt.differences
            except DatabaseError as error:
                raise CommandError(f"The rest could not be recounted: {error}") from None
        if not differences:
            self.stdout.write("Nothing differed.")
        elif dry_run:
            self.stdout.write(f"{differences} rows differ; nothing was changed.")
        else:
            self.stdout.write(f"{differences} rows differed, and are right now.")

    def _tell(self, rebuilt: Rebuilt) -> None:
        told = f"{rebuilt.made} rows were missing, {rebuilt.changed} wrong, {rebuilt.removed} too many"
        self.stdout.write(f"{rebuilt.name}: {told if rebuilt.differences else 'as recounted'}")
        for column, (was, recounted) in rebuilt.sums.items():
            self.stdout.write(f"  {column}: {was}" + (f" -> {recounted}" if was != recounted else ""))
        for example in rebuilt.examples:
            self.stdout.write(f"  for example {example}")
        self.stdout.flush()
