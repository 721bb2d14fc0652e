"""The published OpenAPI file, and the two pages that show it."""

from __future__ import annotations

import functools
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import HttpResponse
from django.template.loader import render_to_string
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from edgechat.errors import NotFound
from edgechat.http.api_view import APIView
from edgechat.http.precompressed import FOR_GOOD, REVALIDATE, Precompressed
from edgechat.openapi.built_file import MEDIA_TYPE, openapi_file

_BUNDLE = "drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js"
_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"
_ICON = "/static/edgechat/icon.svg"


class OpenView(APIView):
    schema = None
    authentication_classes = ()
    permission_classes = (AllowAny,)


class OpenAPIView(OpenView):
    def get(self, request: Request) -> HttpResponse:
        return openapi_file().response(request, content_type=MEDIA_TYPE, cache_control=REVALIDATE)


class HashedOpenAPIView(OpenView):
    """The same file, at an address that changes with it."""

    def get(self, request: Request, digest: str) -> HttpResponse:
        if digest != openapi_file().digest:
            raise NotFound
        return openapi_file().response(request, content_type=MEDIA_TYPE, cache_control=FOR_GOOD)


class PageView(OpenView):
    """A page that shows the file, the same for everyone."""

    template: str

    def get(self, request: Request) -> HttpResponse:
        context = {"title": settings.APP_NAME, "file": f"/docs/openapi.{openapi_file().digest}.json"}
        page = HttpResponse(render_to_string(self.template, context))
        page["Cache-Control"] = REVALIDATE
        return page


class SwaggerView(PageView):
    template = "edgechat/docs.html"


class RedocView(PageView):
    template = "edgechat/redoc.html"


class RedocBundleView(OpenView):
    """Redoc's script, without the one picture that it would fetch from another server."""

    def get(self, request: Request) -> HttpResponse:
        return _bundle().response(request, content_type="text/javascript; charset=utf-8", cache_control="max-age=3600")


@functools.cache
def _bundle() -> Precompressed:
    path = finders.find(_BUNDLE)
    if path is None:
        raise FileNotFoundError(_BUNDLE)
    return Precompressed.of(Path(path).read_bytes().replace(_LOGO.encode(), _ICON.encode()))
