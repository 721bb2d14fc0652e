"""The doctor command's check of the mail server."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core.mail import get_connection

from edgechat.management.diagnosis import Finding, State

SECONDS = 5


def check_mail() -> Iterator[Finding]:
    """Log in to the mail server, and send nothing."""
    kind = settings.EMAIL_BACKEND.split(".")[-2]
    if kind == "dummy" and not settings.DEVELOPMENT:
        yield Finding("E-mail", State.WARNING, "not sent: set EMAIL_URL to your mail server")
    elif kind != "smtp":
        state = State.OK if settings.DEVELOPMENT else State.WARNING
        where = {"console": "printed, and ", "filebased": f"written to {settings.EMAIL_FILE_PATH}, and "}.get(kind, "")
        yield Finding("E-mail", state, f"{where}not sent")
    else:
        connection = get_connection(timeout=SECONDS)
        connection.open()
        connection.close()
        login = "accepts the login" if settings.EMAIL_HOST_USER else "answers, without a login"
        yield Finding("E-mail", State.OK, f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT} {login}")
