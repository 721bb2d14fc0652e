"""Sends e-mails. No caller waits for them, because the time of an answer must not show whether one was sent."""

from __future__ import annotations

from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import connection

from accounts.models import User
from accounts.recovery.emailed_tokens import Purpose, make_emailed_token
from edgechat.http.rate_limit import seconds_to_wait
from edgechat.processes.threads import start_thread, waiting

logger = structlog.get_logger(__name__)

# Per user and purpose, whichever client asks and however the address is spelled.
MAILS_PER_USER = "5/h"

_TEXTS: dict[Purpose, tuple[str, str, str]] = {
    "reset": ("Reset your password", "To choose a new password, within an hour,", "reset-password"),
    "verify": ("Verify your e-mail address", "To verify this address, within 24 hours,", "verify-email"),
}


def send_password_reset(email: str) -> None:
    """Send a link to the user with this address, if there is one.

    Raises OperationalError while PostgreSQL does not answer, for every address alike.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    start_thread(_send_to, email)


def send_verification(user: User) -> None:
    """Send a verification link to a user, unless the address is verified."""
    start_thread(_send, "verify", user)


def send_notice(address: str, subject: str, text: str) -> None:
    """Notify an address of a change to its account.

    There is no rate limit, because other clients must not be able to use it up.
    """
    start_thread(_deliver, address, subject, text)


def _send_to(email: str) -> None:
    user = User.objects.with_email(email)
    if user is not None:
        _send("reset", user)


def _send(purpose: Purpose, user: User) -> None:
    if not user.is_active or (purpose == "verify" and user.is_verified):
        return
    if purpose == "reset" and user.address_set_by_staff:
        return  # see accounts.staff.accounts
    if not _may_be_sent(purpose, user):
        return
    subject, beginning, page = _TEXTS[purpose]
    token = make_emailed_token(user, purpose)
    # After the #: browsers do not send this part, so no server logs the token.
    link = f"open {settings.PUBLIC_URL}/{page}#token={token}" if settings.PUBLIC_URL else f"give this code: {token}"
    text = f"{beginning} {link}\n\nIf you did not ask {settings.APP_NAME} for this, there is nothing to do.\n"
    _deliver(user.email, subject, text)


def _deliver(address: str, subject: str, text: str) -> None:
    try:
        with waiting():
            send_mail(f"{settings.APP_NAME}: {subject}", text, None, [address])
    except (OSError, SMTPException) as error:
        logger.error("mail_not_sent", subject=subject, reason=type(error).__name__)


def _may_be_sent(purpose: Purpose, user: User) -> bool:
    # The limit is per stored address, so a new address starts with no e-mails.
    return seconds_to_wait(f"accounts.mails.{purpose}", f"{user.pk} {user.email}", rate=MAILS_PER_USER) is None
