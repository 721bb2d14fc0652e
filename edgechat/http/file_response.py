"""Users' files, served so that no browser interprets them as another type, with ETag and Range (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import parse_etags

from edgechat.errors import ApiError
from edgechat.http.event_stream import ClosingBody

CHUNK_BYTES = 64 * 1024


class RangeNotSatisfiable(ApiError):
    status, code, detail = 416, "range_not_satisfiable", "The file has no such part"
    sends = ("Content-Range",)


def file_response(request: HttpRequest, file: IO[bytes], *, size: int, mime_type: str, etag: str) -> HttpResponseBase:
    """The file, the part of it that `Range` asks for (206), or 304; closes the file. `etag` is any text.

    The content at an address never changes, so clients may cache it.
    """
    headers = {
        "ETag": f'"{etag}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": "inline",
    }
    known = [each.removeprefix("W/") for each in parse_etags(request.headers.get("If-None-Match", ""))]
    if headers["ETag"] in known or "*" in known:
        file.close()
        return HttpResponse(status=304, headers=headers)
    start, end = 0, size
    status = 200
    wanted = request.headers.get("Range")
    if wanted is not None and request.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
        part = _part(wanted, size)
        if part is not None:
            status, (start, end) = 206, part
            if start >= end:
                file.close()
                raise RangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    body = ClosingBody(_read(file, start, end), file.close)
    return StreamingHttpResponse(body, status=status, content_type=mime_type, headers=headers)


def _part(wanted: str, size: int) -> tuple[int, int] | None:
    """Start and end of one range; empty if it is outside the file; None for a header to ignore (several ranges)."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", wanted.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return None
    return start, min(int(match[2]) + 1, size) if match[2] else size


def _read(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            data = file.read(min(CHUNK_BYTES, end - start))
            if not data:
                return
            start += len(data)
            yield data
