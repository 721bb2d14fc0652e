"""The audit rows of staff who read texts of users, written before the texts are shown."""

from __future__ import annotations

from typing import Any

import django.db
import structlog
from django.http import HttpRequest

from accounts.audit import record_event
from accounts.models import AuditEvent
from edgechat.http.client_address import caller_of

logger = structlog.get_logger(__name__)


class ReadingNotAudited(Exception):
    """The audit row of a reading could not be written, so nothing is shown."""


def record_reading(request: HttpRequest, owner_id: int, **details: Any) -> None:
    """Write the audit row. Raises ReadingNotAudited."""
    try:
        record_event(
            AuditEvent.Event.TRANSCRIPT_READ,
            caller=caller_of(request),
            user_id=owner_id,
            actor_id=request.user.pk,
            **details,
        )
    except django.db.Error as error:
        logger.error("reading_not_audited", exc_info=error)
        raise ReadingNotAudited from error
