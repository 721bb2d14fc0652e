"""The published OpenAPI file, and Redoc's bundle without the one picture that it would fetch from another server."""

from __future__ import annotations

import functools
import gzip
import threading
from pathlib import Path

from django.contrib.staticfiles import finders
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from edgechat.http.api_view import APIView

_BUNDLE = "drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js"
_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"
_ICON = "/static/edgechat/icon.svg"


class OpenAPIView(APIView):
    schema = None
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(published_document(), content_type=OpenApiJsonRenderer.media_type)


class RedocBundleView(APIView):
    schema = None
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> HttpResponse:
        compressed = "gzip" in request.headers.get("Accept-Encoding", "")
        response = HttpResponse(_bundle(compressed), content_type="text/javascript; charset=utf-8")
        if compressed:
            response["Content-Encoding"] = "gzip"
        response["Cache-Control"] = "max-age=3600"
        patch_vary_headers(response, ["Accept-Encoding"])
        return response


def published_document() -> bytes:
    """The OpenAPI file. Generated once in each process: it takes half a second of CPU time, and needs no token."""
    with _generating:  # drf-spectacular generates one schema at a time
        return _document()


_generating = threading.Lock()


@functools.cache
def _document() -> bytes:
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    rendered: bytes = OpenApiJsonRenderer().render(schema)
    return rendered


@functools.cache
def _bundle(compressed: bool) -> bytes:
    path = finders.find(_BUNDLE)
    if path is None:
        raise FileNotFoundError(_BUNDLE)
    script = Path(path).read_bytes().replace(_LOGO.encode(), _ICON.encode())
    return gzip.compress(script) if compressed else script
