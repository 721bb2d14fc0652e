"""A text that one thread writes and any number of threads read while it grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class FeedState:
    """`epoch` counts how often the text was started again. A reader of an older epoch must discard what it has."""

    epoch: int
    text: str
    ended: bool


class TextFeed:
    def __init__(self, *, epoch: int = 1) -> None:
        self._state = FeedState(epoch, "", ended=False)
        self._writing = threading.Lock()
        # One for each waiting reader. A condition would wake its readers through locks and deques, at each delta.
        self._readers: set[threading.Event] = set()

    @property
    def state(self) -> FeedState:
        return self._state

    def append(self, text: str) -> None:
        self.put(self._state.epoch, self._state.text + text)

    def put(self, epoch: int, text: str) -> None:
        """Replace the text if the new one has a later epoch or is longer. Late text of an older epoch is ignored.

        A later epoch starts the text again even after its end.
        """
        with self._writing:
            state = self._state
            if epoch > state.epoch or (epoch == state.epoch and len(text) > len(state.text) and not state.ended):
                self._state = FeedState(epoch, text, ended=False)
                self.wake()

    def end(self) -> None:
        with self._writing:
            self._state = FeedState(self._state.epoch, self._state.text, ended=True)
            self.wake()

    def wake(self) -> None:
        """Make waiting readers check the state and their `unless` again."""
        for reader in tuple(self._readers):
            reader.set()

    def wait_beyond(
        self, epoch: int, offset: int, *, timeout: float, unless: Callable[[], bool] = lambda: False
    ) -> FeedState:
        """Wait until the text grows past `offset`, `timeout` seconds have passed, or `unless` holds. Returns the state.

        The text has grown when it has more than `offset` characters of `epoch`, is of a later epoch, or has ended.
        """
        deadline = time.monotonic() + timeout
        changed = threading.Event()
        self._readers.add(changed)
        try:
            while not self._has_grown(epoch, offset):
                left = deadline - time.monotonic()
                if left <= 0 or unless():
                    break
                changed.wait(left)
                changed.clear()
            return self._state
        finally:
            self._readers.discard(changed)

    def _has_grown(self, epoch: int, offset: int) -> bool:
        state = self._state
        return state.ended or (state.epoch, len(state.text)) > (epoch, offset)
