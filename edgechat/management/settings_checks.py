"""The doctor command's checks of the settings: which secrets are set, and the findings of Django's own checks."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core import checks

from edgechat.management.diagnosis import Finding, State, without_secrets


def check_settings() -> Iterator[Finding]:
    yield Finding("Environment", State.OK, settings.ENVIRONMENT)
    for name in ("JWT_SECRET", "GEMINI_API_KEY", "FIRST_SUPERUSER_PASSWORD"):
        yield Finding(name, State.OK, "set" if getattr(settings, name) else "not set")
    messages = [
        message
        for message in checks.run_checks(include_deployment_checks=not settings.DEVELOPMENT)
        if not message.is_silenced()
    ]
    for message in messages:
        state = State.FAULT if message.is_serious() else State.WARNING
        text = " ".join(filter(None, [message.msg, message.hint]))
        yield Finding(f"Check {message.id}", state, " ".join(without_secrets(text).split()))
    if not messages:
        yield Finding("Checks", State.OK, "Django's checks find nothing")
