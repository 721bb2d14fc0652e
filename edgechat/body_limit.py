"""No request body is read beyond the limit, whatever the parser."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from edgechat.errors import MalformedRequest, TooLarge, error_response
from edgechat.uploads import is_upload


class BodyLimitMiddleware:
    """413 for a body above the limit, before any of it is read: MAX_BODY_BYTES, or MAX_UPLOAD_BYTES for one with files,
    of which each view then takes less.

    Chunked bodies have a length here too: `edgechat.wsgi` reads them, to the same limit, before Django sees them.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal():
            return error_response(request, MalformedRequest("Malformed Content-Length"))
        limit = settings.MAX_UPLOAD_BYTES if is_upload(request) else settings.MAX_BODY_BYTES
        if int(length) > limit:
            return error_response(request, TooLarge(f"The body may have {limit} bytes at most"))
        return self.get_response(request)
