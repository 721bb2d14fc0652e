"""Writes a user's whole data as NDJSON."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit import AuditedExport
from accounts.lifecycle.data_export import export_lines
from accounts.models import User
from edgechat.errors import StoreUnavailable


class Command(BaseCommand):
    help = (
        "Write all data of a user as lines of JSON; the last line has the number of each type. The export is audited."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument(
            "--output", metavar="FILE", help="a new file that only its owner can read (default: the standard output)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.with_email(options["email"])
        if user is None:
            raise CommandError(f"There is no user {options['email']}.")
        audited = AuditedExport(user_id=user.pk)
        lines = audited.follow(export_lines(user))
        try:
            if options["output"] is None:
                for line in lines:
                    self.stdout.write(line.decode(), ending="")
                return
            with open(options["output"], "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.writelines(lines)
        except OSError as error:
            raise CommandError(f"{options['output']}: {error.strerror}") from None
        except StoreUnavailable:
            raise CommandError("A store is not available; the export broke off.") from None
        finally:
            audited.end()
        self.stdout.write(f"Wrote {options['output']}.")
