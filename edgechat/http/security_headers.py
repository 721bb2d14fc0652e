"""What browsers may do with an answer: the Content-Security-Policy by path, and no access to the device's sensors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

Kind = Literal["data", "page", "admin"]

# Swagger UI and Redoc write style elements, Redoc searches in a worker that it creates itself, and Swagger UI's icons
# are data URLs. The policy still allows no inline script and no eval, which is its purpose.
_PAGES = ("/docs", "/redoc", "/playground")
_ADMIN = "/admin/"
_NEVER = "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
_STRICT: dict[Kind, str] = {
    "data": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "page": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        f"font-src 'self'; connect-src 'self'; worker-src blob:; form-action 'none'; {_NEVER}"
    ),
    # Unfold's pages consist of Alpine expressions, which are evaluated. Inline scripts stay forbidden.
    "admin": (
        "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; {_NEVER}"
    ),
}
_RELAXED = f"default-src 'self' https: data: blob: 'unsafe-inline' 'unsafe-eval'; {_NEVER}"
# Browsers apply Cross-Origin-Opener-Policy without https only here; elsewhere they log a warning to the console.
_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?", re.IGNORECASE)
_PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


class SecurityHeadersMiddleware:
    """Adds its headers to every answer, including errors and preflights. A view's own policy stays."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("Permissions-Policy", _PERMISSIONS)
        if request.is_secure() or _LOOPBACK.fullmatch(request.META.get("HTTP_HOST", "")):
            response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if settings.CSP_MODE != "disabled":
            response.headers.setdefault("Content-Security-Policy", content_policy(request.path_info))
        return response


def content_policy(path: str) -> str:
    """The policy for answers at a path."""
    if settings.CSP_MODE == "relaxed":
        return _RELAXED
    kind: Kind = "data"
    if path.startswith(_ADMIN):
        kind = "admin"
    elif path.rstrip("/") in _PAGES:
        kind = "page"
    return _STRICT[kind]
