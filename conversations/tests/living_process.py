"""A process that lives without running, so that no other process takes over the replies that name it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from usage.models import Process


@contextmanager
def living_process() -> Iterator[str]:
    """Its name."""
    process = Process.objects.create(name=f"test-{uuid.uuid4()}", alive_until=datetime(2100, 1, 1, tzinfo=UTC))
    try:
        yield process.name
    finally:
        process.delete()
