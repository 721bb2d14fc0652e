"""A run's steps on the terminal: one line for each step with its time. A terminal also shows the current wait."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_PLAIN_EVERY_SECONDS = 5.0


class Progress:
    """Prints steps to `stream`; without a terminal only whole lines in plain ASCII. Any thread may call it."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._last_plain = 0.0
        self._shows_status = False
        self._lock = threading.RLock()

    def text(self, text: str) -> None:
        """Text that is printed unchanged and ends with a line end."""
        with self._lock:
            if self._shows_status:
                self._stream.write("\r\x1b[K")
                self._shows_status = False
            self._stream.write(text)
            self._stream.flush()

    def line(self, text: str = "") -> None:
        self.text(f"{text}\n")

    def done(self, text: str, seconds: float) -> None:
        """One finished step."""
        self.line(f"{'✓' if self._terminal else 'ok'} {text}  ({_duration(seconds)})")

    def note(self, text: str) -> None:
        """Something that a person should know, though nothing failed."""
        self.line(f"{'•' if self._terminal else '-'} {text}")

    def waiting(self, text: str, seconds: float) -> None:
        """Show the current wait, which has lasted `seconds`.

        The next line replaces this line; without a terminal, one line is printed every 5 s.
        """
        with self._lock:
            if self._terminal:
                self.text(f"  … {text} ({seconds:.1f} s)")
                self._shows_status = True
            elif seconds < self._last_plain or seconds - self._last_plain > _PLAIN_EVERY_SECONDS:
                self._last_plain = seconds
                if seconds > _PLAIN_EVERY_SECONDS:
                    self.line(f".. {text} ({seconds:.0f} s)")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show `text` as in progress, then as done with its time. After an error it is not shown as done."""
        began = time.monotonic()
        ended = threading.Event()

        def show() -> None:
            while not ended.wait(0.1):
                self.waiting(text, time.monotonic() - began)

        ticker = threading.Thread(target=show, name="local-progress", daemon=True)
        ticker.start()
        try:
            yield
        finally:
            ended.set()
            ticker.join(1)
        self.done(text, time.monotonic() - began)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
