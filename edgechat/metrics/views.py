"""GET /metrics."""

from __future__ import annotations

import hmac

from django.conf import settings
from django.http import HttpResponse
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from edgechat.errors import NotFound
from edgechat.http.api_view import APIView
from edgechat.metrics import page


class MetricsView(APIView):
    """The metrics of all processes of this gunicorn. Open in development; elsewhere 404 without METRICS_TOKEN."""

    schema = None
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        if not settings.DEVELOPMENT and not _has_token(request):
            raise NotFound

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(page.render(), content_type=page.CONTENT_TYPE, headers={"Cache-Control": "no-store"})


def _has_token(request: Request) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if not settings.METRICS_TOKEN or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode(errors="replace"), settings.METRICS_TOKEN.encode())
