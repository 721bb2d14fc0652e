"""Deletes an account from every store.

Each app registers an eraser for its own stores. If a store is down, the user's row stays marked for deletion, and the
deletion is tried again until it succeeds. The user's row is deleted last.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.addresses import email_key
from accounts.api_keys.services import end_all_api_keys
from accounts.audit import forget_changes, record_event
from accounts.login.sessions import end_all_sessions
from accounts.models import AuditEvent, Membership, User
from accounts.organizations.members import leave_all_organizations
from edgechat.errors import StoreUnavailable
from edgechat.http.client_address import Caller
from edgechat.metrics import catalog
from edgechat.stores.redis import RedisError, redis_client

logger = structlog.get_logger(__name__)

RETRY_AFTER = timedelta(minutes=1)
# How long a call may still write after a deletion, and the maximum number of accounts that are erased again.
LATE_WRITES, LATE_WRITERS = timedelta(minutes=10), 200
TURN_SECONDS = 50

_erasers: list[Callable[[int], None]] = []


def register_eraser(erase: Callable[[int], None]) -> None:
    """Register `erase(user_id)`, which runs for each deleted user.

    It must be repeatable and may raise StoreUnavailable.
    """
    _erasers.append(erase)


def delete_user(*, user: User, caller: Caller | None, actor_id: int | None) -> bool:
    """Delete an account: block it and release its address immediately, then delete its data.

    Returns True if all data is deleted, False if a store failed and `finish_deletions` has to continue.
    """
    anonymous = f"deleted-{user.pk}"  # not an e-mail address, so no other user can have registered it
    with transaction.atomic():
        leave_all_organizations(user.pk)  # locks organizations before users, as `accept_invitation` does
        User.objects.filter(pk=user.pk).update(
            is_active=False,
            deletion_requested_at=timezone.now(),
            email=anonymous,
            email_key=email_key(anonymous),
            full_name="",
        )
        _forget_addresses(user)
        end_all_sessions(user_id=user.pk, reason="account_deleted")
        end_all_api_keys(user_id=user.pk, reason="account_deleted", actor_id=actor_id, caller=caller)
        record_event(AuditEvent.Event.ACCOUNT_DELETED, caller=caller, user_id=user.pk, actor_id=actor_id)
    return _try_to_erase(user.pk)


def finish_deletions() -> int:
    """Retry failed deletions. Returns the number of accounts that are deleted now.

    An account that fails again moves to the end of the queue, so that many failing accounts do not delay the others.
    """
    pending = User.objects.filter(deletion_requested_at__lt=timezone.now() - RETRY_AFTER)
    gone = 0
    for user_id in list(pending.order_by("deletion_requested_at").values_list("pk", flat=True)[:100]):
        if _try_to_erase(user_id):
            gone += 1
        else:
            User.objects.filter(pk=user_id).update(deletion_requested_at=timezone.now())
    return gone


def measure_pending_deletions() -> None:
    """Set the metric of accounts whose deletion is not complete."""
    pending = User.objects.filter(deletion_requested_at__isnull=False).count()
    catalog.deletions_pending.labels("accounts").set(pending)


def erase_late_writes() -> None:
    """Erase recently deleted accounts again, because a write may have reached a store after the deletion.

    The process of that write may have died, so no other code would find it.
    """
    erase_again(since=timezone.now() - LATE_WRITES, limit=LATE_WRITERS)


def erase_late_writes_in_turn() -> None:
    """The same, unless a process has begun it within the last TURN_SECONDS. Without Redis, each process does it."""
    try:
        is_first = redis_client().set(f"edgechat:late-writes:{settings.MONGODB_DB}", 1, nx=True, ex=TURN_SECONDS)
    except RedisError:
        is_first = True
    if is_first:
        erase_late_writes()


def erase_again(*, since: datetime, limit: int | None = None) -> bool:
    """Erase the accounts that were deleted after a time again, the latest `limit` of them; False if one failed."""
    deletions = AuditEvent.objects.filter(event=AuditEvent.Event.ACCOUNT_DELETED, created_at__gt=since)
    latest = deletions.order_by("-created_at").values_list("user_id", flat=True)[:limit]
    user_ids = [user_id for user_id in latest if user_id is not None]
    there = set(User.objects.filter(pk__in=user_ids).values_list("pk", flat=True))
    failed = [user_id for user_id in user_ids if user_id not in there and not _try_to_erase(user_id)]
    return not failed


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
    # The order matters, and a failure stops the rest: replies write transcripts, so replies are deleted first.
    for erase in _erasers:
        erase(user_id)
    with transaction.atomic():
        # Lock the row, so that no row of this user is added while the related rows are deleted.
        User.objects.select_for_update().filter(pk=user_id).first()
        User.objects.filter(pk=user_id).delete()


def _forget_addresses(user: User) -> None:
    """Remove the current and earlier addresses from rows that are not the user's. Call it in a transaction.

    The audit log keeps that staff changed the account, and which staff user did, but not the values.
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
        # Otherwise the next user with this address would get this user's invitations.
        Membership.objects.filter(user=None, invited_email_key=email_key(address)).delete()
    changes.update(details={})
    forget_changes(about.filter(event=AuditEvent.Event.STAFF_CHANGE))
