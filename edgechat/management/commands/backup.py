"""Copies everything that EdgeChat stores into one archive."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from pymongo.errors import PyMongoError

from edgechat.errors import StoreUnavailable
from edgechat.management.backup.archive import BadArchive
from edgechat.management.backup.backup import back_up
from edgechat.management.backup.pg_dump import DumpFailed
from edgechat.management.backup.places import BucketPlace, FolderPlace
from edgechat.management.backup.postgresql import unapplied_migrations
from edgechat.management.diagnosis import without_secrets

FAULTS = (
    BadArchive,
    Boto3Error,
    BotoCoreError,
    ClientError,
    DatabaseError,
    DumpFailed,
    OSError,
    PyMongoError,
    StoreUnavailable,
)


class Command(BaseCommand):
    help = (
        "Copy PostgreSQL, MongoDB and the pictures into one new archive, while requests are served, and read it again. "
        "The archive has the hashes of all passwords: keep it as secret as the databases."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("destination", help="a folder, or s3://BUCKET/FOLDER")

    def handle(self, *args: Any, **options: Any) -> None:
        destination: str = options["destination"]
        # `docker stop` and Kubernetes end a command so: what it has written is deleted then too.
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
        try:
            place = BucketPlace(destination) if "://" in destination else FolderPlace(Path(destination))
            if missing := unapplied_migrations():
                raise CommandError(f"Run `manage.py migrate` first: {missing[0]} is not applied.")
            manifest = back_up(place, report=self.stdout.write)
        except (*FAULTS, ValueError) as error:
            said = f"The backup to {destination} failed: {str(error) or repr(error)}"
            raise CommandError(without_secrets(said)) from error
        for name, section in manifest["sections"].items():
            self.stdout.write(f"{name:40}{section['count']:>12,}{section['bytes']:>18,} bytes")
        if manifest["missing_pictures"]:
            self.stdout.write(f"Pictures without files: {manifest['missing_pictures']}.")
        self.stdout.write(f"Wrote and verified {place}")
