"""Deleting an account from every store.

Each app registers how it deletes what a user owns in its own stores. A deletion that fails half-way, because a store
is down, stays marked on the user's row, which goes last, and is tried again until it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog
from django.db import transaction
from django.utils import timezone

from accounts.addresses import email_key
from accounts.audit import forget_changes, record_event
from accounts.login.sessions import end_all_sessions
from accounts.models import AuditEvent, Membership, User
from accounts.organizations.members import leave_all_organizations
from edgechat.errors import StoreUnavailable
from edgechat.http.client_address import Caller

logger = structlog.get_logger(__name__)

RETRY_AFTER = timedelta(minutes=1)
# Longer than any call goes on to write, and how many accounts are looked at again.
LATE_WRITES, LATE_WRITERS = timedelta(minutes=10), 200

_erasers: list[Callable[[int], None]] = []


def register_eraser(erase: Callable[[int], None]) -> None:
    """Have `erase(user_id)` called for each deleted user. It must be repeatable and may raise StoreUnavailable."""
    _erasers.append(erase)


def delete_user(*, user: User, caller: Caller | None, actor_id: int | None) -> bool:
    """Delete an account: shut out at once, its address free again at once, its data gone now or as soon as can be.

    True if all is gone now, False if a store failed and `finish_deletions` goes on.
    """
    anonymous = f"deleted-{user.pk}"  # no e-mail address, which a stranger could have registered
    with transaction.atomic():
        leave_all_organizations(user.pk)  # locks organizations before users, as `add_member` does
        User.objects.filter(pk=user.pk).update(
            is_active=False,
            deletion_requested_at=timezone.now(),
            email=anonymous,
            email_key=email_key(anonymous),
            full_name="",
        )
        _forget_addresses(user)
        end_all_sessions(user_id=user.pk, reason="account_deleted")
        record_event(AuditEvent.Event.ACCOUNT_DELETED, caller=caller, user_id=user.pk, actor_id=actor_id)
    return _try_to_erase(user.pk)


def finish_deletions() -> int:
    """Try again what failed before; how many accounts are gone now.

    One that fails again goes behind all others, so that none is kept waiting by a hundred that cannot be deleted.
    """
    pending = User.objects.filter(deletion_requested_at__lt=timezone.now() - RETRY_AFTER)
    gone = 0
    for user_id in list(pending.order_by("deletion_requested_at").values_list("pk", flat=True)[:100]):
        if _try_to_erase(user_id):
            gone += 1
        else:
            User.objects.filter(pk=user_id).update(deletion_requested_at=timezone.now())
    _erase_late_writes()
    return gone


def _erase_late_writes() -> None:
    """Erase once more what was deleted a while ago: what had been on its way to a store may have come after.

    Its process may have died meanwhile, so nobody else would find it.
    """
    deletions = AuditEvent.objects.filter(
        event=AuditEvent.Event.ACCOUNT_DELETED, created_at__gt=timezone.now() - LATE_WRITES
    )
    latest = deletions.order_by("-created_at").values_list("user_id", flat=True)[:LATE_WRITERS]
    user_ids = [user_id for user_id in latest if user_id is not None]
    there = set(User.objects.filter(pk__in=user_ids).values_list("pk", flat=True))
    for user_id in user_ids:
        if user_id not in there:
            _try_to_erase(user_id)


def _try_to_erase(user_id: int) -> bool:
    try:
        _erase(user_id)
    except StoreUnavailable:
        logger.warning("deletion_deferred", user_id=user_id)
        return False
    except Exception:
        logger.exception("deletion_failed", user_id=user_id)
        return False
    return True


def _erase(user_id: int) -> None:
    # In this order, and none after one that failed: transcripts must not go before the replies that write them.
    for erase in _erasers:
        erase(user_id)
    with transaction.atomic():
        # Locked first, so that nobody adds a row for this user between the deletion of those and of this one.
        User.objects.select_for_update().filter(pk=user_id).first()
        User.objects.filter(pk=user_id).delete()


def _forget_addresses(user: User) -> None:
    """Take the address, and those that it was before, out of rows that are not the user's; in a transaction.

    That staff changed something of the account stays in the audit log, with who did it; what it was does not.
    """
    about = AuditEvent.objects.filter(user_id=user.pk)
    changes = about.filter(event=AuditEvent.Event.EMAIL_CHANGED)
    addresses = {user.email} | {
        side["email"]
        for change in changes
        for side in change.details.values()
        if isinstance(side, dict) and "email" in side
    }
    for address in addresses:
        # Else whoever gets the address next would find what was meant for this user.
        Membership.objects.filter(user=None, invited_email_key=email_key(address)).delete()
    changes.update(details={})
    forget_changes(about.filter(event=AuditEvent.Event.STAFF_CHANGE))
