"""The outermost middleware: the request id, one access line per request, and store faults outside REST views."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from edgechat.errors import error_response, to_api_error
from edgechat.http.client_address import believe_scheme, client_address
from edgechat.http.request_state import RequestState, attach_state

logger = structlog.get_logger("edgechat.access")

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestIDMiddleware:
    """Gives each request an id (the client's own if well-formed), in the response and in every log line."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if _ACCEPTED.fullmatch(given) else str(uuid.uuid4())
        address = client_address(request)
        believe_scheme(request)
        state = RequestState(request_id, address)
        attach_state(request, state)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        response["X-Request-ID"] = request_id
        logger.info(
            "request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            ms=round((time.monotonic() - state.began_at) * 1000, 1),
            address=address,
        )
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answers store faults in views that are not REST framework's, such as the admin's."""
        error = to_api_error(exception)
        return error_response(request, error) if error else None
