"""One clock for all machines, PostgreSQL's: their own clocks may be minutes apart.

Each web process learns the time with every renewal of its row (`usage.processes`) and continues with its monotonic
clock, so PostgreSQL may be away. `django.utils.timezone.now` returns this time, so every stored or compared time uses
it, including Django's own fields and sessions. A command, and a process that has not reached PostgreSQL yet, use the
time of their machine.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from django.utils import timezone

# PostgreSQL's time minus the monotonic clock's, in seconds.
_offset: float | None = None


def install() -> None:
    """Make Django use this time. Call it before any model or migration refers to the function."""
    timezone.now = now


def now() -> datetime:
    return datetime.now(UTC) if _offset is None else datetime.fromtimestamp(time.monotonic() + _offset, UTC)


def learn(reported: datetime, *, sent_at: float, answered_at: float) -> None:
    """Adopt a time that PostgreSQL reported between these two values of the monotonic clock.

    A time that agrees with the known time, within the precision of the measurement, does not change it.
    """
    global _offset
    least, most = reported.timestamp() - answered_at, reported.timestamp() - sent_at
    _offset = (least + most) / 2 if _offset is None else min(max(_offset, least), most)
