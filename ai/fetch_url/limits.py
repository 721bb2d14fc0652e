"""How a page is refused, and the time limit for all of its processing."""

from __future__ import annotations

import time

from edgechat.errors import Invalid

# All network errors have the same text: different ones would reveal our internal network to the client.
CANNOT_OPEN = "The address can't be opened"
CANNOT_READ = "The page could not be read"
WRONG_ADDRESS = "Only http and https addresses on ports 80 and 443"
WRONG_TYPE = "This type of page can't be read; accepted: HTML, PDF and plain text"


class PageRefused(Invalid):
    """422 on `body.url`; users see the message."""

    def __init__(self, message: str) -> None:
        super().__init__({"body.url": message})
        self.message = message


class Deadline:
    """A deadline `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._end

    def left(self) -> float:
        """The remaining seconds, always above 0. Raises PageRefused if none remain."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.refusal()
        return left

    def refusal(self) -> PageRefused:
        return PageRefused(f"The page took longer than {self._seconds:g} seconds")
