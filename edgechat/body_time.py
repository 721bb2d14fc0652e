"""How long a client may take to send a body: what comes slower holds memory, or a file, for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gevent

BODY_SECONDS = 60.0


class BodyTooSlow(Exception):
    """The body did not come in time."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise BodyTooSlow in what is done within, if it takes longer. Under gevent, which serves; elsewhere no limit."""
    with gevent.Timeout(seconds, BodyTooSlow):
        yield
