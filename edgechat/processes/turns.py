"""Permits to work. Only `edgechat.processes.threads` hands them out."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from edgechat.stores import store_time

# A request that waits longer than this for a turn is refused even if all stores answer: its client is about to leave.
LONGEST_QUEUE_SECONDS = 30.0
LOOK_SECONDS = 0.5


class Turns:
    """Permits to work, handed out in the order in which threads asked for them."""

    def __init__(self, count: int, *, waited: Callable[[float], object] | None = None) -> None:
        """`waited` is called with the seconds of each wait."""
        self._count = self._free = count
        self._waited = waited
        self._queue: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def take_free(self) -> bool:
        """Take a turn if one is free."""
        with self._lock:
            if not self._free:
                return False
            self._free -= 1
            return True

    def are_awaited(self) -> bool:
        return bool(self._queue)

    @property
    def taken(self) -> int:
        return self._count - self._free

    @property
    def awaited(self) -> int:
        return len(self._queue)

    def take(self, patience: float | None) -> bool:
        """Wait for a turn. After `patience` seconds the wait goes on only while the stores answer promptly."""
        mine = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            self._queue.append(mine)
        began = time.monotonic()
        try:
            taken = mine.wait(patience)
            while not taken and store_time.is_prompt() and time.monotonic() - began < LONGEST_QUEUE_SECONDS:
                taken = mine.wait(LOOK_SECONDS)
        except BaseException:  # the thread is ended while it waits
            if self._leave(mine):
                self.give_back()
            raise
        finally:
            if self._waited is not None:
                self._waited(time.monotonic() - began)
        return taken or self._leave(mine)

    def _leave(self, mine: threading.Event) -> bool:
        """Leave the queue; whether the turn has come just before that."""
        with self._lock:
            if mine in self._queue:
                self._queue.remove(mine)
            return mine.is_set()

    def give_back(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1
