"""System checks: combinations of settings that each look right and together are not."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register


@register(Tags.security, deploy=True)
def check_hosts(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Any Host header is accepted in production."""
    if settings.DEVELOPMENT or "*" not in (settings.ALLOWED_HOSTS or []):
        return []
    return [
        checks.Warning("ALLOWED_HOSTS accepts every host.", hint="Name the hosts in ALLOWED_HOSTS.", id="edgechat.W001")
    ]


@register(Tags.security, deploy=True)
def check_model(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """In production nothing stands in for the model."""
    if settings.GEMINI_API_KEY or settings.GEMINI_BASE_URL:
        return []
    hint = "Set GEMINI_API_KEY, or GEMINI_BASE_URL for a server of your own."
    return [checks.Warning("There is no model: every call to it answers 503.", hint=hint, id="edgechat.W002")]
