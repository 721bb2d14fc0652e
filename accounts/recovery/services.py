"""Services for the tokens in e-mails: resetting a forgotten password and verifying an address."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts.api_keys.services import end_all_api_keys
from accounts.audit import record_event
from accounts.login.login_lock import forget_failures
from accounts.login.sessions import end_all_sessions
from accounts.models import AuditEvent, User
from accounts.recovery.emailed_tokens import user_of_token
from accounts.services import hash_password, refuse_common_password
from edgechat.errors import Invalid
from edgechat.http.client_address import Caller

BAD_TOKEN = {"body.token": "This is not valid, has expired, or was used already."}


def reset_password(*, token: str, password: str, caller: Caller) -> User:
    """Set the password of a token's user and end all sessions. Raises Invalid."""
    user = user_of_token(token, "reset")
    if user is None:
        raise Invalid(BAD_TOKEN)
    refuse_common_password(password, field="body.password")
    encoded = hash_password(password)
    with transaction.atomic():
        # By compare-and-set: of two simultaneous requests with the token, only one succeeds.
        unchanged = User.objects.filter(pk=user.pk, password=user.password, email=user.email, is_active=True)
        if not unchanged.update(password=encoded, updated_at=timezone.now()):
            raise Invalid(BAD_TOKEN)
        forget_failures(user.email)  # a locked-out user resets the password to log in again
        end_all_sessions(user_id=user.pk, reason="password_reset")
        end_all_api_keys(user_id=user.pk, reason="password_reset", actor_id=user.pk, caller=caller)
        record_event(
            AuditEvent.Event.PASSWORD_CHANGED, caller=caller, user_id=user.pk, actor_id=user.pk, by="password_reset"
        )
    user.password = encoded
    return user


def verify_email(*, token: str) -> None:
    """Mark the address of a token's user as verified. Raises Invalid."""
    user = user_of_token(token, "verify")
    if user is None or not mark_verified(user):
        raise Invalid(BAD_TOKEN)


def mark_verified(user: User) -> bool:
    """Mark an address as verified; the only code that does. Returns False if it was verified before."""
    unverified = User.objects.filter(pk=user.pk, email=user.email, is_verified=False)
    if not unverified.update(is_verified=True, address_set_by_staff=False, updated_at=timezone.now()):
        return False
    user.is_verified, user.address_set_by_staff = True, False
    return True
