"""One clock for all machines, PostgreSQL's: their own may be minutes apart.

Each web process learns the time with every renewal of its row (`usage.processes`) and counts on with its monotonic
clock, so PostgreSQL may be away. `django.utils.timezone.now` tells this time, so everything that is stored or compared
has it, Django's own fields and sessions too. A command, and a process that has not reached PostgreSQL yet, has the time
of its machine.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from django.utils import timezone

# PostgreSQL's time less the monotonic clock's, in seconds.
_offset: float | None = None


def install() -> None:
    """Have Django tell this time. To be called before any model or migration names the function."""
    timezone.now = now


def now() -> datetime:
    return datetime.now(UTC) if _offset is None else datetime.fromtimestamp(time.monotonic() + _offset, UTC)


def learn(told: datetime, *, asked_at: float, answered_at: float) -> None:
    """Take over a time that PostgreSQL told between these two of the monotonic clock.

    What agrees with the time that is known, as far as can be told, does not move it.
    """
    global _offset
    least, most = told.timestamp() - answered_at, told.timestamp() - asked_at
    _offset = (least + most) / 2 if _offset is None else min(max(_offset, least), most)
