"""Multipart bodies with files in them: read to disk, apart from the limit on other bodies."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import ParseError
from rest_framework.parsers import DataAndFiles, MultiPartParser

from edgechat.errors import MalformedRequest, TooLarge
from edgechat.http.request_body import accept_body

# Beside the files: boundaries, names, other fields.
ENVELOPE_BYTES = 256 * 1024
MAX_PARTS = 50


def upload_folder() -> Path:
    """FILE_UPLOAD_TEMP_DIR, made if it is not there."""
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class NamelessFileUploadHandler(TemporaryFileUploadHandler):
    """A file on its way has no name in FILE_UPLOAD_TEMP_DIR: a process that is killed leaves nothing of it."""

    file: Any

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        FileUploadHandler.new_file(self, *args, **kwargs)
        file: Any = tempfile.TemporaryFile(dir=upload_folder())  # noqa: SIM115  (closed with the request)
        self.file = UploadedFile(file, self.file_name, self.content_type, 0, self.charset, self.content_type_extra)

    def upload_interrupted(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


class _Parts:
    """The body as Django reads it; TooLarge for more than MAX_PARTS parts, each of which is work."""

    def __init__(self, stream: Any, media_type: str) -> None:
        boundary = parse_header_parameters(media_type)[1].get("boundary", "")
        self._stream, self._delimiter, self._count = stream, f"--{boundary}".encode(), 0

    def read(self, size: int) -> Any:
        data = self._stream.read(size)
        self._count += data.count(self._delimiter)
        if self._count > MAX_PARTS:
            raise TooLarge(f"The body may have {MAX_PARTS} parts at most")
        return data


class UploadParser(MultiPartParser):
    """Files go to FILE_UPLOAD_TEMP_DIR as they come. The view says how much it takes: `max_upload_bytes`, and
    `too_large`, the sentence that names the limit.

    It runs after the caller was authenticated.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> DataAndFiles[Any, Any]:
        view, request = parser_context["view"], parser_context["request"]._request
        accept_body(request, view.max_upload_bytes + ENVELOPE_BYTES, too_large=view.too_large)
        try:
            parts: Any = _Parts(stream, media_type or "")
            return super().parse(parts, media_type, parser_context)
        except BaseException as error:
            # Django closes the files that have come whole.
            for handler in request.upload_handlers:
                if getattr(handler, "file", None) is not None:
                    handler.file.close()
            if isinstance(error, ParseError):
                raise MalformedRequest("The multipart body is malformed") from error
            raise
