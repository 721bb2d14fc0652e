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
        "Recalculate the sums of usage (hourly, by organization and daily, costs, and the used part of budgets) from "
        "the request records and the ledger, and print the differences. You can run it at any time, while requests are "
        "served; calls to the model that end while a differing table is recalculated wait for it. "
        "Requests of deleted accounts are removed from the traffic of their days."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print the differences")

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run = options["dry_run"]
        differences = 0
        with tqdm(total=len(TABLES), unit="table", file=sys.stderr, disable=None, leave=False) as bar:
            bar.set_description(TABLES[0].name)
            try:
                for number, rebuilt in enumerate(rebuild_usage(dry_run=dry_run), 1):
                    bar.clear()
                    self._print(rebuilt)
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
            self.stdout.write(f"{differences} rows differed and were corrected.")

    def _print(self, rebuilt: Rebuilt) -> None:
        differences = f"{rebuilt.missing} rows were missing, {rebuilt.wrong} wrong, {rebuilt.surplus} too many"
        self.stdout.write(f"{rebuilt.name}: {differences if rebuilt.differences else 'as recounted'}")
        for column, (before, after) in rebuilt.sums.items():
            self.stdout.write(f"  {column}: {before}" + (f" -> {after}" if before != after else ""))
        for example in rebuilt.examples:
            self.stdout.write(f"  for example {example}")
        self.stdout.flush()
