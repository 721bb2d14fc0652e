"""A text that one thread writes and any number of others read as it grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class FeedState:
    """`epoch` counts how often the text was begun anew; a reader of an older one has to forget what it has."""

    epoch: int
    text: str
    ended: bool


class TextFeed:
    def __init__(self, *, epoch: int = 1) -> None:
        self._state = FeedState(epoch, "", ended=False)
        self._changed = threading.Condition()

    @property
    def state(self) -> FeedState:
        return self._state

    def append(self, text: str) -> None:
        self.put(self._state.epoch, self._state.text + text)

    def put(self, epoch: int, text: str) -> None:
        """Replace the text, if it is of a later epoch or longer; an older epoch's late words are ignored.

        A later epoch begins the text anew even after its end.
        """
        with self._changed:
            state = self._state
            if epoch > state.epoch or (epoch == state.epoch and len(text) > len(state.text) and not state.ended):
                self._state = FeedState(epoch, text, ended=False)
                self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._state = FeedState(self._state.epoch, self._state.text, ended=True)
            self._changed.notify_all()

    def wake(self) -> None:
        """Have those who wait look at their `unless` again."""
        with self._changed:
            self._changed.notify_all()

    def wait_beyond(
        self, epoch: int, offset: int, *, timeout: float, unless: Callable[[], bool] = lambda: False
    ) -> FeedState:
        """The state once there is more than `offset` characters of `epoch`, a later epoch, or the end; or as it is
        after `timeout` seconds, or once `unless` holds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._state.ended and (self._state.epoch, len(self._state.text)) <= (epoch, offset):
                left = deadline - time.monotonic()
                if left <= 0 or unless():
                    break
                self._changed.wait(left)
            return self._state
