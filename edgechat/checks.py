"""System checks: combinations of settings that are valid one by one and unsafe together."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register

MIN_SECRET_BYTES = 32


@register(Tags.security, deploy=True)
def check_hosts(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report that production accepts any Host header."""
    if settings.DEVELOPMENT or "*" not in (settings.ALLOWED_HOSTS or []):
        return []
    return [
        checks.Warning("ALLOWED_HOSTS accepts every host.", hint="Name the hosts in ALLOWED_HOSTS.", id="edgechat.W001")
    ]


@register(Tags.security, deploy=True)
def check_model(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report that no model is configured. In development the local model answers."""
    if settings.GEMINI_API_KEY or settings.GEMINI_BASE_URL:
        return []
    hint = "Set GEMINI_API_KEY, or GEMINI_BASE_URL for a server of your own."
    return [checks.Warning("There is no model: every call to it answers 503.", hint=hint, id="edgechat.W002")]


@register(Tags.security, deploy=True)
def check_tls(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report that TLS ends at a proxy that is not trusted to report the client's address and scheme."""
    if settings.TRUSTED_PROXY_COUNT or not settings.PUBLIC_URL.startswith("https://"):
        return []
    text = "PUBLIC_URL is https, but no proxy is trusted: no HSTS is sent, and all clients share one address's limits."
    hint = "Set TRUSTED_PROXY_COUNT to the number of proxies that stand before EdgeChat."
    return [checks.Warning(text, hint=hint, id="edgechat.W003")]


@register(Tags.security, deploy=True)
def check_mail(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report that users cannot reset a forgotten password, because no e-mail is sent."""
    if settings.DEVELOPMENT or (settings.EMAIL_URL and settings.PUBLIC_URL):
        return []
    hint = "Set EMAIL_URL to your mail server, and PUBLIC_URL to the address that links lead to."
    return [checks.Warning("E-mails are not sent, or their links lead nowhere.", hint=hint, id="edgechat.W004")]


@register(Tags.security, deploy=True)
def check_budget(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report that users can use the model without a limit, at the operator's cost."""
    if settings.MONTHLY_TOKEN_LIMIT or settings.UNVERIFIED_TOKEN_LIMIT is not None:
        return []
    hint = "Set MONTHLY_TOKEN_LIMIT, and perhaps a smaller UNVERIFIED_TOKEN_LIMIT."
    return [checks.Warning("No account has a budget of tokens.", hint=hint, id="edgechat.W005")]


@register(Tags.security)
def check_credentials(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report that any web site can make calls with the cookies of its visitors."""
    if not (settings.CORS_ALLOW_ALL_ORIGINS and settings.CORS_ALLOW_CREDENTIALS):
        return []
    hint = "Name the origins in CORS_ORIGINS; credentials follow from that."
    return [checks.Error("Every origin is allowed, with credentials.", hint=hint, id="edgechat.E001")]


@register(Tags.security)
def check_proxy_headers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report that clients can forge the scheme or the host of their requests."""
    believed = settings.SECURE_PROXY_SSL_HEADER or settings.USE_X_FORWARDED_HOST or settings.USE_X_FORWARDED_PORT
    if settings.TRUSTED_PROXY_COUNT or not believed:
        return []
    hint = "Set TRUSTED_PROXY_COUNT, or leave SECURE_PROXY_SSL_HEADER and USE_X_FORWARDED_* unset."
    return [checks.Error("A proxy's headers are believed without a proxy.", hint=hint, id="edgechat.E002")]


@register(Tags.security)
def check_secret(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report that the secret can be guessed, so that anybody could sign tokens."""
    if len(settings.JWT_SECRET.encode()) >= (1 if settings.DEVELOPMENT else MIN_SECRET_BYTES):
        return []
    hint = "Set JWT_SECRET to 32 bytes or more, for example from `openssl rand -hex 32`."
    return [checks.Error("Tokens are signed with no secret, or with a short one.", hint=hint, id="edgechat.E003")]
