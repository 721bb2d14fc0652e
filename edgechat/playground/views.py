"""The playground's page."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse
from django.template.loader import render_to_string
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from edgechat.errors import NotFound
from edgechat.http.api_view import APIView


class PlaygroundView(APIView):
    """The page, the same for everyone, and at the addresses in e-mails. 404 in production, unless PLAYGROUND is set."""

    schema = None
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> HttpResponse:
        if not settings.PLAYGROUND:
            raise NotFound
        page = HttpResponse(render_to_string("playground/page.html", {"app_name": settings.APP_NAME}))
        page["Cache-Control"] = "no-cache"
        # Everywhere else the camera is refused; here a person takes pictures with it.
        page["Permissions-Policy"] = "camera=(self), geolocation=(), microphone=(), payment=(), usb=()"
        return page
