"""What browsers may do with an answer: the Content-Security-Policy by path, framing, and the device's sensors."""

from __future__ import annotations

import re
from typing import Literal

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

Kind = Literal["data", "page", "playground", "admin"]

# Swagger UI and Redoc write style elements, Redoc searches in a worker that it creates itself, and Swagger UI's icons
# are data URLs. The policy still allows no inline script and no eval, which is its purpose.
_PAGES = ("/docs", "/redoc")
# The last two are those of the links in e-mails (accounts.recovery).
PLAYGROUND_PATHS = frozenset({"/playground", "/reset-password", "/verify-email"})
ADMIN_PATH = "/admin/"
_NEVER = "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
_STRICT: dict[Kind, str] = {
    "data": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "page": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        f"font-src 'self'; connect-src 'self'; worker-src blob:; form-action 'none'; {_NEVER}"
    ),
    # Only the two libraries named here may turn text into HTML, and browsers refuse it to all other code.
    "playground": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        f"form-action 'none'; require-trusted-types-for 'script'; trusted-types lit-html dompurify; {_NEVER}"
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
_ALWAYS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def add_security_headers(request: HttpRequest, response: HttpResponseBase) -> None:
    """Add the headers to any answer, including errors and preflights. A view's own headers stay."""
    headers = response.headers
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    if request.is_secure():
        if settings.HSTS_SECONDS:
            headers.setdefault("Strict-Transport-Security", f"max-age={settings.HSTS_SECONDS}")
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    elif _LOOPBACK.fullmatch(request.META.get("HTTP_HOST", "")):
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    if settings.CSP_MODE != "disabled":
        headers.setdefault("Content-Security-Policy", _content_policy(request.path_info))


def _content_policy(path: str) -> str:
    """The policy for answers at a path."""
    if settings.CSP_MODE == "relaxed":
        return _RELAXED
    kind: Kind = "data"
    if path.startswith(ADMIN_PATH):
        kind = "admin"
    elif path.rstrip("/") in _PAGES:
        kind = "page"
    elif path.rstrip("/") in PLAYGROUND_PATHS:
        kind = "playground"
    return _STRICT[kind]
