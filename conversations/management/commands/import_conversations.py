"""Imports a user's conversations from an export file or from the older EdgeChat's MongoDB."""

from __future__ import annotations

import io
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pymongo
from bson import json_util
from django.core.management.base import BaseCommand, CommandError, CommandParser
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri
from tqdm import tqdm

from accounts.audit import record_event
from accounts.models import AuditEvent, User
from conversations.imports.run import Interrupted, begin_by_command, lease_kept, run_import
from edgechat.errors import StoreUnavailable

SOURCES = ("chatgpt", "claude", "edgechat")
MONGODB = ("mongodb://", "mongodb+srv://")
SECONDS = 10.0


class Command(BaseCommand):
    help = (
        "Import a user's conversations from ChatGPT's or Claude's export (conversations.json or the .zip with it), or "
        "from the older EdgeChat: a JSON or NDJSON dump, or a mongodb:// URL. Conversations that are here from an "
        "earlier import are not changed, so an import may be repeated, and one that was ended goes on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("file", metavar="FILE", help="a path, or mongodb://HOST/DATABASE")
        parser.add_argument("--source", choices=SOURCES, help="default: each conversation is recognized by its fields")
        parser.add_argument("--collection", default="conversations", help="of a mongodb:// URL; default: conversations")
        parser.add_argument(
            "--older-user",
            metavar="ID",
            help="only the older EdgeChat's conversations of this user there; default: the user's id here",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.with_email(options["email"])
        if user is None or user.deletion_requested_at is not None:
            raise CommandError(f"There is no user {options['email']}.")
        older_user = options["older_user"] or str(user.pk)
        if options["file"].startswith(MONGODB):
            opened = _dump(options["file"], options["collection"])
            options["source"] = "edgechat"
        else:
            opened = _open(Path(options["file"]))
        with opened as file, lease_kept():
            size = file.seek(0, io.SEEK_END)
            row = begin_by_command(owner_id=user.pk, source=options["source"], size=size)
            if row is None:
                raise CommandError(f"Another import of {user.email} is running; wait for its end.")
            try:
                with tqdm(total=size, unit="B", unit_scale=True, file=sys.stderr, disable=None) as bar:
                    tally, peak = run_import(
                        row, file, watch=lambda read: bar.update(read - bar.n), older_user=older_user, keeps_ids=True
                    )
            except (Interrupted, StoreUnavailable) as error:
                raise CommandError(
                    f"The import was interrupted ({type(error).__name__}). Run the command again to go on."
                ) from None
        record_event(
            AuditEvent.Event.CONVERSATIONS_IMPORTED,
            user_id=user.pk,
            import_id=str(row.id),
            conversations=tally.conversations,
            messages=tally.messages,
        )
        for line in tally.lines():
            self.stdout.write(line)
        if options["verbosity"] > 1:
            self.stdout.write(f"Largest memory: {_peak() // 1024} MB here, {peak // 1024} MB in the reading process.")
        summary = (
            f"Imported {tally.conversations} conversations with {tally.messages} messages for {user.email}; "
            f"{tally.skipped} were skipped."
        )
        if tally.broken:
            raise CommandError(summary)
        self.stdout.write(summary)


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    with file:
        if not os.path.isfile(file.fileno()):
            raise CommandError(f"{path} is not a file.")
        yield file


@contextmanager
def _dump(url: str, collection: str) -> Iterator[IO[bytes]]:
    """The collection's documents as lines of JSON, in a file without a name."""
    try:
        name = parse_uri(url)["database"]
        if not name:
            raise CommandError("The URL names no database: mongodb://HOST/DATABASE")
        with (
            tempfile.TemporaryFile() as file,
            pymongo.MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=SECONDS * 1000) as client,
        ):
            for document in client[name][collection].find():
                file.write(json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS).encode() + b"\n")
            yield file
    except PyMongoError as error:
        # Not the error's text, which may repeat the URL with its password.
        raise CommandError(f"The older MongoDB failed: {type(error).__name__}") from None


def _peak() -> int:
    """The largest memory of this process in KB. On Linux, `ru_maxrss` may be that of the process that started it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
