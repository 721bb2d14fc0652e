"""Multipart bodies with files, read to disk, with a limit of their own."""

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

# For everything but the files: boundaries, names, other fields.
ENVELOPE_BYTES = 256 * 1024
MAX_PARTS = 50


def upload_folder() -> Path:
    """FILE_UPLOAD_TEMP_DIR, created if it does not exist."""
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class NamelessFileUploadHandler(TemporaryFileUploadHandler):
    """A file has no name in FILE_UPLOAD_TEMP_DIR during its upload, so a killed process leaves nothing of it."""

    file: Any

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        FileUploadHandler.new_file(self, *args, **kwargs)
        file: Any = tempfile.TemporaryFile(dir=upload_folder())  # noqa: SIM115  (closed with the request)
        self.file = UploadedFile(file, self.file_name, self.content_type, 0, self.charset, self.content_type_extra)

    def upload_interrupted(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


class _Parts:
    """The body as Django reads it. Raises TooLarge beyond MAX_PARTS parts, because each part costs work."""

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
    """Writes files to FILE_UPLOAD_TEMP_DIR as they arrive.

    The view sets the limit: `max_upload_bytes`, and `too_large`, the sentence that names it.

    Parsing happens after authentication.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> DataAndFiles[Any, Any]:
        view, request = parser_context["view"], parser_context["request"]._request
        accept_body(request, view.max_upload_bytes + ENVELOPE_BYTES, too_large=view.too_large)
        try:
            parts: Any = _Parts(stream, media_type or "")
            return super().parse(parts, media_type, parser_context)
        except BaseException as error:
            # Django closes the files that have arrived whole.
            for handler in request.upload_handlers:
                if getattr(handler, "file", None) is not None:
                    handler.file.close()
            if isinstance(error, ParseError):
                raise MalformedRequest("The multipart body is malformed") from error
            raise
