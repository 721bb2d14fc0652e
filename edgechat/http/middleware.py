"""The way of every request, from outside to inside: one middleware, whose steps run in the order of this file.

Django's own middleware for browser sessions works only for the admin (ADMIN_MIDDLEWARE): the API uses tokens.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from typing import Any, cast

import structlog
from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.module_loading import import_string
from django.views import View
from whitenoise.middleware import WhiteNoiseMiddleware

from edgechat.errors import ApiError, MethodNotAllowed, StoreUnavailable, error_response, to_api_error
from edgechat.http.client_address import believe_scheme, client_address
from edgechat.http.rate_limit import METRICS_PATH, is_unlimited, limit_request
from edgechat.http.request_body import MAX_ANONYMOUS_BYTES, accept_body
from edgechat.http.request_metrics import measure_answer
from edgechat.http.request_state import RequestState, attach_state, state_of
from edgechat.http.security_headers import ADMIN_PATH, add_security_headers
from edgechat.processes.threads import begin_work, end_work
from edgechat.stores import store_time

access_log = structlog.get_logger("edgechat.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """Identifies, limits, admits, counts and logs each request, and adds the headers that every answer has."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._view = self._admin = get_response
        self._admin_checks: list[Any] = []
        for name in reversed(settings.ADMIN_MIDDLEWARE):
            middleware = import_string(name)(self._admin)
            self._admin = _safely(middleware)
            if hasattr(middleware, "process_view"):
                self._admin_checks.insert(0, middleware.process_view)
        self._count_answered = import_string(settings.COUNT_ANSWERED)
        self._count_refused = import_string(settings.COUNT_REFUSED)
        self._cors = CorsMiddleware(get_response)
        self._static_files = WhiteNoiseMiddleware(get_response).files
        self._respond_safely = _safely(self._respond)
        self._work_safely = _safely(self._work)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        state = _identify(request)
        preflight = self._cors.check_preflight(request) if request.method == "OPTIONS" else None
        response = preflight or self._respond_safely(request)
        if "HTTP_ORIGIN" in request.META:
            self._cors.add_response_headers(request, response)
        else:
            patch_vary_headers(response, ("origin",))
        add_security_headers(request, response)
        if isinstance(response, HttpResponse) and "Content-Length" not in response.headers:
            response.headers["Content-Length"] = str(len(response.content))
        response.headers["X-Request-ID"] = state.request_id
        measure_answer(request, response)
        line = {
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "ms": round((time.monotonic() - state.began_at) * 1000, 1),
            "address": state.client_address,
        }
        if state.error:
            line["error"] = state.error
        if response.status_code < 500:
            access_log.info("request", **line)
        else:
            access_log.error("request", **line)
        return response

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        static_file = self._static_files.get(request.path_info)
        if static_file is not None:
            state_of(request).is_static = True
            return _serve_static(static_file, request)
        _ignore_trailing_slash(request)
        if is_unlimited(request.path_info):
            if request.path_info != METRICS_PATH:  # Prometheus names its targets by their addresses
                request.get_host()  # raises DisallowedHost
            return self._view(request)
        refusal = limit_request(request)
        if refusal is not None:
            refused = error_response(request, refusal)
            self._count_refused(request, refused)
            return refused
        began = time.monotonic()
        response = self._work_safely(request)
        self._count_answered(request, response, milliseconds=int((time.monotonic() - began) * 1000))
        return response

    def _work(self, request: HttpRequest) -> HttpResponseBase:
        """Answer once the request has its turn to work, which it waits for during a bounded time.

        Requests start in the order of their arrival, a bounded number of them at the same time in each process.
        """
        began = state_of(request).began_at
        try:
            begin_work(patience=max(0.0, store_time.patience_seconds() - (time.monotonic() - began)))
        except StoreUnavailable as error:
            return error_response(request, error)
        store_time.begin_request(waited=time.monotonic() - began)
        try:
            request.get_host()
            return (self._admin if request.path_info.startswith(ADMIN_PATH) else self._view)(request)
        finally:
            end_work()
            store_time.end_request()

    def process_view(
        self, request: HttpRequest, view: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        """Name the route in log lines, and answer OPTIONS with `Allow` for every caller: the OpenAPI file has the same.

        REST framework would require a token. The admin's pages are functions and answer OPTIONS themselves.
        """
        if request.resolver_match is not None:
            structlog.contextvars.bind_contextvars(route=request.resolver_match.route)
        if request.method == "OPTIONS" and hasattr(view, "view_class"):
            options = view.view_class(**view.view_initkwargs)
            options.setup(request, *args, **kwargs)
            return View.options(options, request)
        if request.path_info.startswith(ADMIN_PATH):
            for check in (_read_form, *self._admin_checks):
                refusal: HttpResponseBase | None = check(request, view, args, kwargs)
                if refusal is not None:
                    return refusal
        return None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer store faults in views that are not REST framework's, such as the admin's."""
        error = to_api_error(exception)
        return error_response(request, error) if error else None


def _safely(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """The function with its exceptions as answers, as around each of Django's own middleware."""
    return cast("Callable[[HttpRequest], HttpResponseBase]", convert_exception_to_response(get_response))


def _identify(request: HttpRequest) -> RequestState:
    """Give the request an id, its own if it is well-formed, for the answer and every log line."""
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
    state = RequestState(request_id, client_address(request))
    attach_state(request, state)
    believe_scheme(request)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id, user_id=None, session_id=None, route=None)
    return state


def _serve_static(static_file: Any, request: HttpRequest) -> HttpResponseBase:
    """A static file. WhiteNoise's own 405 has no body."""
    if request.method in ("GET", "HEAD"):
        served: HttpResponseBase = WhiteNoiseMiddleware.serve(static_file, request)
        return served
    options = request.method == "OPTIONS"
    response = HttpResponse() if options else error_response(request, MethodNotAllowed())
    response.headers["Allow"] = "GET, HEAD, OPTIONS"
    return response


def _ignore_trailing_slash(request: HttpRequest) -> None:
    """Routes have no trailing slash, and clients may send one. The admin keeps Django's own form, with the slash."""
    path = request.path_info
    if path + "/" == ADMIN_PATH:
        request.path_info = request.path = ADMIN_PATH
    elif len(path) > 1 and path.endswith("/") and not path.startswith(ADMIN_PATH):
        request.path_info = path[:-1]


def _read_form(request: HttpRequest, *view: Any) -> HttpResponse | None:
    """Read the admin's form after the user is known, and before the CSRF check, which reads without a bound."""
    if request.META.get("CONTENT_LENGTH", "") in ("", "0"):
        return None
    limit = settings.MAX_BODY_BYTES if request.user.is_staff else min(settings.MAX_BODY_BYTES, MAX_ANONYMOUS_BYTES)
    try:
        accept_body(request, limit)
        # Django's own `HttpRequest.body` keeps the body here, for a chunked body too.
        request._body = request.read()
    except ApiError as error:
        return error_response(request, error)
    request.META["CONTENT_LENGTH"] = str(len(request._body))
    return None
