"""A trailing slash is optional on every path and method, without a redirect."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase


class TrailingSlashMiddleware:
    """Routes have no trailing slash; a client's trailing slash is removed before routes are matched.

    The admin keeps Django's own form, with the slash.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        if path == "/admin":
            request.path_info = request.path = "/admin/"
        elif len(path) > 1 and path.endswith("/") and not path.startswith("/admin/"):
            request.path_info = path[:-1]
        return self.get_response(request)
