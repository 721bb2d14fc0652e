"""Whether a store may be tried: after it failed to answer, no thread waits for it again immediately."""

from __future__ import annotations

import time

from edgechat.metrics import catalog, sampling
from edgechat.stores import store_time

PAUSE_SECONDS = 1.0


class Breaker:
    """When a store last failed, for the whole process.

    After a failure no attempt is made for a second; then one attempt each second, until one succeeds.
    """

    def __init__(self, store: str) -> None:
        self._open = False
        self._failures = catalog.store_failures.labels(store)
        down = catalog.store_down.labels(store)
        sampling.register(lambda: down.set(self._open))
        self._next_attempt_at = 0.0

    def allows(self) -> bool:
        """Whether to try now. A caller that gets True makes the attempt, and has the time for it."""
        if not self._open:
            return True
        now = time.monotonic()
        if now < self._next_attempt_at or not store_time.may_try():
            return False
        self._next_attempt_at = now + PAUSE_SECONDS
        return True

    def trip(self) -> None:
        """Record that the store did not answer."""
        self._open = True
        self._failures.inc()
        self._next_attempt_at = time.monotonic() + PAUSE_SECONDS

    def reset(self) -> None:
        """Record that the store answered."""
        self._open = False
