"""The one way to write an audit event."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from accounts.models import AuditEvent, Membership
from edgechat.http.client_address import Caller


def record_event(
    event: AuditEvent.Event,
    *,
    caller: Caller | None = None,
    user_id: int | None = None,
    actor_id: int | None = None,
    **details: Any,
) -> None:
    """Add a row to the audit log; `caller` is None for what a command did. Details hold no secrets and no text."""
    AuditEvent.objects.create(
        event=event,
        user_id=user_id,
        actor_id=actor_id,
        ip=(caller.address or None) if caller else None,
        request_id=caller.request_id if caller else "",
        details=details,
    )


def record_membership(
    member: Membership, *, caller: Caller, actor_id: int, before: str | None, after: str | None
) -> None:
    """One row for a role that somebody got, had changed or lost; None for who was not, or is no longer, a member."""
    record_event(
        AuditEvent.Event.MEMBERSHIP_CHANGED,
        caller=caller,
        user_id=member.user_id,
        actor_id=actor_id,
        organization=member.organization_id,
        before=None if before is None else {"role": before},
        after=None if after is None else {"role": after},
    )


def forget_changes(events: QuerySet[AuditEvent]) -> None:
    """Of these changes by staff, keep what was changed and by whom, but not what it was before and after."""
    for event in events:
        event.details = {name: event.details.get(name) for name in ("model", "id")}
        event.save(update_fields=["details"])
