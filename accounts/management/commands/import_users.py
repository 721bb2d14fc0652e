"""Imports the users of an older backend from a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from accounts.lifecycle.imported_rows import READERS, MissingColumns
from accounts.lifecycle.user_import import import_users


class Command(BaseCommand):
    help = (
        "Import users from a CSV file with a line of column names, or from NDJSON: email, hashed_password (bcrypt or "
        "Argon2id), and optionally id, full_name, role (user or admin), is_active, created_at. Existing users are not "
        "changed, so a file may be imported again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="ends with .csv, .ndjson or .jsonl")
        parser.add_argument("--dry-run", action="store_true", help="only print what would happen")

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(options["file"])
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise CommandError(f"{path} does not end with one of {', '.join(READERS)}.")
        try:
            with path.open("rb") as file:
                outcome = import_users(reader(_watched(file, path.stat().st_size)), dry_run=options["dry_run"])
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from None
        except MissingColumns as error:
            raise CommandError(f"{path} has no column {error}.") from None
        for line, reason in outcome.refused:
            self.stdout.write(f"line {line}: {reason}")
        done = "Would import" if options["dry_run"] else "Imported"
        summary = (
            f"{done} {outcome.imported} users, {outcome.staff} of them staff; {outcome.present} were there already, "
            f"{len(outcome.refused)} lines were refused."
        )
        if outcome.refused:
            raise CommandError(summary)
        self.stdout.write(summary)


def _watched(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The lines of the file, with a progress bar on a terminal."""
    with tqdm(total=size, unit="B", unit_scale=True, file=sys.stderr, disable=None) as bar:
        for line in file:
            bar.update(len(line))
            yield line
