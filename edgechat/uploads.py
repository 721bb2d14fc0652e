"""Multipart bodies with files in them: read to disk, apart from the limit on other bodies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, UnreadablePostError
from rest_framework.exceptions import ParseError
from rest_framework.parsers import DataAndFiles, MultiPartParser

from edgechat.body_time import BodyTooSlow, time_limit
from edgechat.errors import MalformedRequest, TooLarge
from edgechat.threads import begin_work, end_work, release_database

# Beside the files: boundaries, names, other fields.
ENVELOPE_BYTES = 256 * 1024
UPLOAD_SECONDS = 300.0


def upload_folder() -> Path:
    """FILE_UPLOAD_TEMP_DIR, made if it is not there."""
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def is_upload(request: HttpRequest) -> bool:
    """Whether the body is left to an UploadParser; the admin's forms, which have no files, are read whole."""
    return request.content_type == "multipart/form-data" and request.path_info.startswith("/api/")


class UploadParser(MultiPartParser):
    """Files go to FILE_UPLOAD_TEMP_DIR as they come. The view says how much it takes: `max_upload_bytes`, and
    `too_large`, the sentence that names the limit.

    It runs after the caller was authenticated, and gives back its turn to work: a slow phone keeps nobody waiting.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> DataAndFiles[Any, Any]:
        view = parser_context["view"]
        if int(parser_context["request"].META.get("CONTENT_LENGTH") or 0) > view.max_upload_bytes + ENVELOPE_BYTES:
            raise TooLarge(view.too_large)
        upload_folder()
        release_database()
        end_work()
        try:
            with time_limit(UPLOAD_SECONDS):
                return super().parse(stream, media_type, parser_context)
        except (ParseError, UnreadablePostError, BodyTooSlow) as error:
            raise MalformedRequest("The multipart body is malformed, or did not come whole in time") from error
        finally:
            begin_work()
