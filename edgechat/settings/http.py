"""Hosts and origins, cookies, and what browsers may do."""

from __future__ import annotations

import json
import re

from marshmallow.validate import OneOf

from edgechat.settings.deployment import DEVELOPMENT, PUBLIC_URL, env
from edgechat.settings.limits import TRUSTED_PROXY_COUNT

#: Host names, comma-separated. Unset: localhost and the host of `PUBLIC_URL`; all hosts in development.
_hosts: list[str] | None = env.list("ALLOWED_HOSTS", None)
if _hosts is None:
    _hosts = ["*"] if DEVELOPMENT else [re.sub(r"^https?://|[:/].*$", "", PUBLIC_URL)]
# Always includes the loopback names, which the machine's own health checks use.
ALLOWED_HOSTS = [*filter(None, (host.strip() for host in _hosts)), "localhost", "127.0.0.1", "[::1]"]
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


def _cors_origins() -> list[str]:
    """CORS_ORIGINS (`*` or a comma-separated list), else the older BACKEND_CORS_ORIGINS (a JSON list), else `*`."""
    #: `*`, or a comma-separated list of origins. Credentials only with a list.
    ours = env.str("CORS_ORIGINS", "*")
    #: The older backends' name of `CORS_ORIGINS`: a JSON list.
    older = env.str("BACKEND_CORS_ORIGINS", "")
    if older and not env.is_set("CORS_ORIGINS"):
        try:
            origins = json.loads(older)
        except ValueError:
            origins = None
        if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
            env.fault("BACKEND_CORS_ORIGINS", 'must be a JSON list, for example ["https://app.example.com"]')
            return []
        return [origin.rstrip("/") for origin in origins]
    return [origin.strip().rstrip("/") for origin in ours.split(",") if origin.strip()]


_origins = _cors_origins()
CORS_ALLOW_ALL_ORIGINS = "*" in _origins
CORS_ALLOWED_ORIGINS = [] if CORS_ALLOW_ALL_ORIGINS else _origins
for _origin in CORS_ALLOWED_ORIGINS:
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s]+", _origin):
        env.fault("CORS_ORIGINS", f"{_origin!r} is not an origin such as https://app.example.com")
CORS_ALLOW_CREDENTIALS = not CORS_ALLOW_ALL_ORIGINS
CORS_ALLOW_HEADERS = [
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "user-agent",
    "x-csrftoken",
    "x-request-id",
    "x-requested-with",
    # OpenAI's library for browsers sends the following with each call.
    "openai-organization",
    "openai-project",
    "x-stainless-arch",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
]
CORS_EXPOSE_HEADERS = ["X-Request-ID", "Retry-After", "ETag", "x-should-retry"]
CORS_PREFLIGHT_MAX_AGE = 3600

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEVELOPMENT
SESSION_COOKIE_NAME = "edgechat_admin"
# The cookie holds the whole session; only the project's own table records whether a login is still valid.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_AGE = 12 * 3600  # accounts.staff.sessions.LIFETIME
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
#: The Content-Security-Policy. `strict`: no inline script and no eval outside the admin.
CSP_MODE = env.str("CSP_MODE", "strict", validate=OneOf(["strict", "relaxed", "disabled"]))
#: Whether `/playground`, a page to chat on, is served. Unset: in development only.
PLAYGROUND = env.bool("PLAYGROUND", DEVELOPMENT)
# Sent over https only. TLS ends at the proxy, which reports it by X-Forwarded-Proto (TRUSTED_PROXY_COUNT).
HSTS_SECONDS = 0 if DEVELOPMENT else 365 * 24 * 3600
