"""What is sent by e-mail. Nothing here is waited for: the time of an answer must not tell whether anything was sent."""

from __future__ import annotations

from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import send_mail

from accounts.models import User
from accounts.recovery.emailed_tokens import Purpose, make_emailed_token
from edgechat.http.rate_limit import seconds_to_wait
from edgechat.processes.threads import start_thread, waiting

logger = structlog.get_logger(__name__)

# To one user for one purpose, whoever asks for them, from wherever and by whatever spelling of the address.
MAILS_PER_USER = "5/h"

_TEXTS: dict[Purpose, tuple[str, str, str]] = {
    "reset": ("Reset your password", "To choose a new password, within an hour,", "reset-password"),
    "verify": ("Verify your e-mail address", "To verify this address, within 24 hours,", "verify-email"),
}


def send_password_reset(email: str) -> None:
    """Send a link to who has this address, if anybody has."""
    start_thread(_send_to, email)


def send_verification(user: User) -> None:
    """Send a link to a user, unless the address is verified."""
    start_thread(_send, "verify", user)


def send_notice(address: str, subject: str, text: str) -> None:
    """Tell an address what was done to its account. Unlimited: others must not be able to use up what it is told."""
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
    # Behind the #, which browsers do not send, so that it stands in no log of a server.
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
    # The address as it is stored; one that is new has not got any yet.
    return seconds_to_wait(f"accounts.mails.{purpose}", f"{user.pk} {user.email}", rate=MAILS_PER_USER) is None
