"""Static files, with the usual answer for other methods."""

from __future__ import annotations

from typing import cast

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile

from edgechat.errors import MethodNotAllowed, error_response


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise's own 405 has no body."""

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponseBase:
        if request.method in ("GET", "HEAD"):
            return cast(HttpResponseBase, WhiteNoiseMiddleware.serve(static_file, request))
        options = request.method == "OPTIONS"
        response: HttpResponse = HttpResponse() if options else error_response(request, MethodNotAllowed())
        response["Allow"] = "GET, HEAD, OPTIONS"
        return response
