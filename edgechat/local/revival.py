"""Starts a server again that ended by itself, while everything else goes on."""

import threading
import time

from edgechat.local.process import LocalError
from edgechat.local.progress import Progress
from edgechat.local.server import Server

# The pause before the second try; it doubles with each further one. A server that ran longer than the longest pause
# counts as healthy.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


class Revival:
    """Looks after one server that the others can do without for a while."""

    def __init__(self, server: Server, progress: Progress) -> None:
        self.server = server
        self._progress = progress
        self._thread: threading.Thread | None = None
        self._pause = 0.0
        self._started_at = time.monotonic()

    def look(self) -> None:
        """Start the server in the background if it has ended. Returns at once; call this regularly."""
        if self.server.is_running() or (self._thread is not None and self._thread.is_alive()):
            return
        if time.monotonic() - self._started_at > LONGEST_PAUSE_SECONDS:
            self._pause = 0.0
        # A daemon: the end of the run does not wait for it, and the server ends with the run.
        self._thread = threading.Thread(target=self._start, name="local-revival", daemon=True)
        self._thread.start()

    def _start(self) -> None:
        self._progress.note(f"{self.server.death_notice()}\n  It is started again. Calls that need it fail meanwhile.")
        time.sleep(self._pause)
        self._pause = min(max(FIRST_PAUSE_SECONDS, 2 * self._pause), LONGEST_PAUSE_SECONDS)
        began = self._started_at = time.monotonic()
        try:
            self.server.start()
        except LocalError as error:
            self._progress.note(str(error))
            return
        self._started_at = time.monotonic()
        self._progress.done(
            f"{self.server.label} {self.server.version}  {self.server.address}", self._started_at - began
        )
