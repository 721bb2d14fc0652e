"""Makes the OpenAPI file that the servers of this version publish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from edgechat.http.precompressed import Precompressed
from edgechat.openapi.built_file import built_path


class Command(BaseCommand):
    help = (
        "Make the OpenAPI file, and compress it, for the servers of this version to find at their start. A server that "
        "finds none makes it first, which takes some seconds."
    )
    requires_system_checks = ()  # some need stores, and the image is built without

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--folder", type=Path, default=settings.OPENAPI_FOLDER, help="default: %(default)s")

    def handle(self, *args: Any, **options: Any) -> None:
        from edgechat.openapi.document import make_document

        path = built_path(options["folder"])
        path.parent.mkdir(parents=True, exist_ok=True)
        older = {each for each in path.parent.glob("openapi.*") if not each.name.startswith(path.name)}
        Precompressed.of(make_document()).write(path)
        for each in older:
            each.unlink(missing_ok=True)
        if options["verbosity"]:
            self.stdout.write(str(path))
