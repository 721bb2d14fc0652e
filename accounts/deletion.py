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

from accounts.audit import record_event
from accounts.members import leave_all_organizations
from accounts.models import AuditEvent, User
from accounts.sessions import end_all_sessions
from edgechat.client_address import Caller
from edgechat.errors import StoreUnavailable

logger = structlog.get_logger(__name__)

RETRY_AFTER = timedelta(minutes=1)

_erasers: list[Callable[[int], None]] = []


def register_eraser(erase: Callable[[int], None]) -> None:
    """Have `erase(user_id)` called for each deleted user. It must be repeatable and may raise StoreUnavailable."""
    _erasers.append(erase)


def delete_user(*, user: User, caller: Caller | None, actor_id: int | None) -> None:
    """Delete an account: shut out at once, its address free again at once, its data gone now or as soon as can be."""
    with transaction.atomic():
        leave_all_organizations(user.pk)  # locks organizations before users, as `add_member` does
        User.objects.filter(pk=user.pk).update(
            is_active=False,
            deletion_requested_at=timezone.now(),
            email=f"deleted-{user.pk}@deleted.invalid",
            full_name="",
        )
        end_all_sessions(user_id=user.pk, reason="account_deleted")
        record_event(AuditEvent.Event.ACCOUNT_DELETED, caller=caller, user_id=user.pk, actor_id=actor_id)
    try:
        _erase(user.pk)
    except StoreUnavailable:
        logger.warning("deletion_deferred", user_id=user.pk)


def finish_deletions() -> int:
    """Try again what an unavailable store left undone; how many accounts are gone now."""
    pending = User.objects.filter(deletion_requested_at__lt=timezone.now() - RETRY_AFTER)
    user_ids = list(pending.values_list("pk", flat=True)[:100])
    for user_id in user_ids:
        _erase(user_id)
    return len(user_ids)


def _erase(user_id: int) -> None:
    for erase in _erasers:
        erase(user_id)
    with transaction.atomic():
        # Locked first, so that nobody adds a row for this user between the deletion of those and of this one.
        User.objects.select_for_update().filter(pk=user_id).first()
        User.objects.filter(pk=user_id).delete()
