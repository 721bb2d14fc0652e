"""The effects of a change of a user's address or password by staff.

Staff could set a user's address to their own and reset the password by e-mail, which would look like an action of the
user. So the new address gets no reset e-mail until a logged-in user has verified it. The old address is notified of
this change and of a later new password by staff.
"""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.db import transaction

from accounts.api_keys.services import end_all_api_keys
from accounts.audit import record_event
from accounts.login.sessions import end_all_sessions
from accounts.models import AuditEvent, User
from accounts.recovery.emails import send_notice
from edgechat.http.client_address import Caller


def follow_change_of_address(user: User, *, before: User, actor_id: int, caller: Caller) -> None:
    """End the account's sessions and API keys, write to the audit log and notify the old address.

    Call it in the change's transaction.
    """
    end_all_sessions(user_id=user.pk, reason="address_changed")
    end_all_api_keys(user_id=user.pk, reason="address_changed", actor_id=actor_id, caller=caller)
    record_event(
        AuditEvent.Event.EMAIL_CHANGED,
        caller=caller,
        user_id=user.pk,
        actor_id=actor_id,
        before={"email": before.email, "is_verified": before.is_verified},
        after={"email": user.email, "is_verified": user.is_verified},
    )
    _notify(
        before.email,
        "The e-mail address of your account was changed",
        f"The staff of {settings.APP_NAME} changed the e-mail address of your account, which was this one. It is "
        "logged out everywhere, and its password is as it was.",
    )


def notify_of_new_password(user: User) -> None:
    addresses = {user.email}
    if user.address_set_by_staff:
        changes = AuditEvent.objects.filter(user_id=user.pk, event=AuditEvent.Event.EMAIL_CHANGED)
        addresses |= {change.details["before"]["email"] for change in changes.order_by("-id")[:1]}
    for address in sorted(addresses):
        _notify(
            address,
            "The password of your account was changed",
            f"The staff of {settings.APP_NAME} set a new password for your account. It is logged out everywhere.",
        )


def _notify(address: str, subject: str, text: str) -> None:
    """Send a notice after the change commits. The change stays if the notice cannot be sent."""
    objection = "If you did not ask for this, please contact them immediately, and not from this account."
    transaction.on_commit(partial(send_notice, address, subject, f"{text}\n\n{objection}\n"), robust=True)
