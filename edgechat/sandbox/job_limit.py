"""How many jobs run at the same time: a limit for the process, and a smaller limit for each user."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class OutOfTime(Exception):
    """The work was not finished in time."""


class NotStarted(OutOfTime):
    """The work got no permit in time."""


_user: ContextVar[Hashable] = ContextVar("sandbox_user", default=None)


@contextmanager
def working_for(user_id: int) -> Iterator[None]:
    """Permits within the block count for this user. Work of no user counts as one user's."""
    token = _user.set(user_id)
    try:
        yield
    finally:
        _user.reset(token)


class JobLimit:
    """`total` jobs at the same time, of which one user has `per_user` at most.

    A free permit goes to the waiting user with the fewest; among equals, to the one that has waited longest. A user who
    starts many jobs therefore delays only their own.
    """

    def __init__(self, total: int, *, per_user: int) -> None:
        self._free = total
        self._per_user = per_user
        self._running: Counter[Hashable] = Counter()
        self._waiting: list[tuple[Hashable, threading.Event]] = []
        self._lock = threading.Lock()

    @contextmanager
    def permit(self, seconds: float) -> Iterator[None]:
        """Hold a permit for the block. Raises NotStarted when none was free for `seconds`."""
        waiter = (_user.get(), threading.Event())
        with self._lock:
            self._waiting.append(waiter)
            self._grant()
        if not waiter[1].wait(seconds):
            with self._lock:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                    raise NotStarted
        try:
            yield
        finally:
            with self._lock:
                self._running -= Counter([waiter[0]])
                self._free += 1
                self._grant()

    def _grant(self) -> None:
        while self._free:
            able = [waiter for waiter in self._waiting if self._running[waiter[0]] < self._per_user]
            if not able:
                return
            chosen = min(able, key=lambda waiter: self._running[waiter[0]])
            self._waiting.remove(chosen)
            self._running[chosen[0]] += 1
            self._free -= 1
            chosen[1].set()
