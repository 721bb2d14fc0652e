"""How many jobs run at the same time: a limit for the process, and a smaller limit for each user."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class OutOfTime(Exception):
    """The work was not finished in time."""


class NotBegun(OutOfTime):
    """The work got no place in time."""


_user: ContextVar[Hashable] = ContextVar("sandbox_user", default=None)


@contextmanager
def working_for(user_id: int) -> Iterator[None]:
    """Waits for a place within the block count for this user. Work of no user shares one user's places."""
    token = _user.set(user_id)
    try:
        yield
    finally:
        _user.reset(token)


class Places:
    """`total` places, of which one user has `per_user` at most.

    A free place goes to the waiting user with the fewest places; among equals, to the one that has waited longest. A
    user who fills all their places therefore delays only their own work.
    """

    def __init__(self, total: int, *, per_user: int) -> None:
        self._free = total
        self._per_user = per_user
        self._taken: Counter[Hashable] = Counter()
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    @contextmanager
    def one(self, seconds: float) -> Iterator[None]:
        """Hold a place for the block. Raises NotBegun when no place was free for `seconds`."""
        user = _user.get()
        self._take(user, seconds)
        try:
            yield
        finally:
            with self._lock:
                self._taken[user] -= 1
                if not self._taken[user]:
                    del self._taken[user]
                self._free += 1
                self._hand_out()

    def _take(self, user: Hashable, seconds: float) -> None:
        waiting = _Waiting(user)
        with self._lock:
            self._waiting.append(waiting)
            self._hand_out()
        if waiting.over.wait(seconds):
            return
        with self._lock:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                raise NotBegun

    def _hand_out(self) -> None:
        while self._free:
            able = [waiting for waiting in self._waiting if self._taken[waiting.user] < self._per_user]
            if not able:
                return
            chosen = min(able, key=lambda waiting: self._taken[waiting.user])
            self._waiting.remove(chosen)
            self._taken[chosen.user] += 1
            self._free -= 1
            chosen.over.set()


class _Waiting:
    def __init__(self, user: Hashable) -> None:
        self.user = user
        self.over = threading.Event()
