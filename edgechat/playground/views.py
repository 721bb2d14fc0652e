"""The playground's page."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views import View


class PlaygroundView(View):
    """The page, the same for everyone. 404 in production, unless PLAYGROUND is set."""

    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.PLAYGROUND:
            raise Http404
        page = render(request, "playground/page.html", {"app_name": settings.APP_NAME})
        page["Cache-Control"] = "no-cache"
        # Everywhere else the camera is refused; here a person takes pictures with it.
        page["Permissions-Policy"] = "camera=(self), geolocation=(), microphone=(), payment=(), usb=()"
        return page
