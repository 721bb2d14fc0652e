"""Django's middleware for browser sessions, limited to the admin: the API uses tokens and needs none of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware

from edgechat.errors import ApiError, error_response
from edgechat.http.request_body import MAX_STRANGERS_BYTES, accept_body

ADMIN_PATH = "/admin/"


class AdminOnly:
    """For Django's middleware, or as a mixin beside its base class: it handles only requests to the admin."""

    get_response: Callable[[HttpRequest], Any]

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(ADMIN_PATH):
            return super().__call__(request)  # type: ignore[misc]
        return self.get_response(request)


class AdminSessionMiddleware(AdminOnly, SessionMiddleware):
    pass


class AdminBodyMiddleware:
    """Reads the admin's forms after the user is known, and before the CSRF check, which reads without a bound."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, callback: Any, callback_args: Any, callback_kwargs: Any
    ) -> HttpResponse | None:
        if not request.path_info.startswith(ADMIN_PATH) or request.META.get("CONTENT_LENGTH", "") in ("", "0"):
            return None
        limit = settings.MAX_BODY_BYTES
        if not request.user.is_staff:
            limit = min(limit, MAX_STRANGERS_BYTES)
        try:
            accept_body(request, limit)
            body = request.read()
        except ApiError as error:
            return error_response(request, error)
        # Django's own `HttpRequest.body` keeps the body here, for a chunked body too.
        request._body = body
        request.META["CONTENT_LENGTH"] = str(len(body))
        return None


class AdminCsrfMiddleware(AdminOnly, CsrfViewMiddleware):
    def process_view(
        self, request: HttpRequest, callback: Any, callback_args: Any, callback_kwargs: Any
    ) -> HttpResponseForbidden | None:
        if request.path_info.startswith(ADMIN_PATH):
            return super().process_view(request, callback, callback_args, callback_kwargs)
        return None


class AdminMessageMiddleware(AdminOnly, MessageMiddleware):
    pass
