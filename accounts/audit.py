"""The only ways to write an audit event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import django.db
import structlog
from django.db.models import QuerySet

from accounts.models import AuditEvent, Membership
from edgechat.http.client_address import Caller

logger = structlog.get_logger(__name__)


def record_event(
    event: AuditEvent.Event,
    *,
    caller: Caller | None = None,
    user_id: int | None = None,
    actor_id: int | None = None,
    organization_id: int | None = None,
    **details: Any,
) -> None:
    """Add a row to the audit log. `caller` is None for a command. Details hold no secrets and no user text.

    The organization may be given as `organization_id`, or as the detail `organization`.
    """
    AuditEvent.objects.create(
        event=event,
        user_id=user_id,
        actor_id=actor_id,
        ip=(caller.address or None) if caller else None,
        request_id=caller.request_id if caller else "",
        organization_id=details.get("organization") if organization_id is None else organization_id,
        details=details,
    )


class AuditedExport:
    """A file of data that leaves the system, with its row in the audit log, which is written before the first byte.

    Rows are never changed. So a file that breaks off gets a second row, with `complete` false and the bytes that were
    sent.
    """

    def __init__(self, **event: Any) -> None:
        """`event`: what `record_event` gets. Raises DatabaseError, and then nothing may be sent."""
        record_event(AuditEvent.Event.DATA_EXPORTED, **event)
        self._event = event
        self._bytes = 0
        self._complete = False

    def follow(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self._bytes += len(chunk)
        self._complete = True

    def end(self) -> None:
        """Call it when the file has ended, however it has."""
        if self._complete:
            return
        try:
            record_event(AuditEvent.Event.DATA_EXPORTED, **self._event, complete=False, bytes=self._bytes)
        except django.db.Error as error:
            logger.error("broken_export_not_audited", bytes=self._bytes, exc_info=error)


def record_membership(
    member: Membership, *, caller: Caller, actor_id: int, before: str | None, after: str | None
) -> None:
    """Add a row for a role that was given, changed or removed. A role is None where the user is not a member."""
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
    """Keep the object and the author of these changes by staff, and delete the values before and after."""
    for event in events:
        event.details = {name: event.details.get(name) for name in ("model", "id")}
        event.save(update_fields=["details"])
