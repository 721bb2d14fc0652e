"""GET /api/v1/openapi.json."""

from __future__ import annotations

import functools

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView


class OpenAPIView(APIView):
    schema = None
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(published_document(), content_type=OpenApiJsonRenderer.media_type)


@functools.cache
def published_document() -> bytes:
    """Made once in each process: it takes half a second of CPU time, and unauthenticated callers may request it."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    rendered: bytes = OpenApiJsonRenderer().render(schema)
    return rendered
