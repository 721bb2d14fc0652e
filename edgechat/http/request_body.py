"""The body of a request as it arrives: nothing is read before the application has set a limit."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from django.conf import settings
from django.http import HttpRequest
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import NoMoreData, ParseException

from edgechat.errors import MalformedRequest, RateLimited, StoreUnavailable, TooLarge
from edgechat.http.client_address import limit_key
from edgechat.http.client_socket import BodyTooSlow, ClientSocket
from edgechat.http.request_state import state_of
from edgechat.http.tally import Tally
from edgechat.metrics import catalog

# For callers without a valid token: they send no more than an address, a password and a name.
MAX_ANONYMOUS_BYTES = 64 * 1024
# An unread body is dropped if it has already arrived and is no longer than this; otherwise the connection is closed.
MAX_DROPPED_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024
# A chunk costs more time than its bytes, so the chunks of a long body must have a minimum size.
_FREE_CHUNKS = 1000
_MIN_CHUNK_BYTES = 64
# If a body takes longer than this, the token is checked again once the body has arrived.
LATE_SECONDS = 0.5

# Bytes of bodies that this process's requests hold, in memory or in files.
held = Tally()


class RequestBody(io.IOBase):
    """`wsgi.input`, in place of gunicorn's own.

    Reading raises MalformedRequest for a body that ends early, comes too slowly or is not valid HTTP; TooLarge beyond
    the accepted limit; RateLimited or StoreUnavailable when its address or the process holds too much.
    """

    def __init__(self, request: Any, sock: ClientSocket) -> None:
        self._request, self._sock = request, sock
        self._reader = request.body.reader
        # None until a chunked body has ended.
        self._length: int | None = None if isinstance(self._reader, ChunkedReader) else self._reader.length
        self._read = 0
        self._limit = 0
        self._too_large = ""
        self._address = ""
        self._pieces: Iterator[bytes] | None = None
        self._rest = memoryview(b"")
        self._when_done: list[Callable[[], None]] = []
        self._when_late: tuple[float, Callable[[], object]] | None = None
        # gunicorn's flag for an unknown start of the next request.
        self.failed = False
        # gunicorn would send 100 Continue before the application has checked the request.
        self._expects_continue = request._expected_100_continue
        request._expected_100_continue = False

    @property
    def is_whole(self) -> bool:
        """Whether the whole body has arrived."""
        return self._length == self._read and not self.failed

    def accept(self, limit: int, *, too_large: str, address: str) -> None:
        """Allow `limit` bytes to be read, counted for an address. Raises TooLarge if the request announces more."""
        self._limit, self._too_large, self._address = limit, too_large, limit_key(address)
        if self._length is not None and self._length > limit:
            raise TooLarge(too_large)

    def when_late(self, look_again: Callable[[], object]) -> None:
        """Call a function once the whole body has arrived, if that is LATE_SECONDS from now or later.

        A slow sender may lose its permission meanwhile. The reader of the body gets the function's exception.
        """
        self._when_late = time.monotonic() + LATE_SECONDS, look_again

    def when_done(self, function: Callable[[], None]) -> None:
        """Call a function when the request has its answer, or its client is gone."""
        self._when_done.append(function)

    def read(self, size: int | None = -1) -> bytes:
        if self.failed:
            raise MalformedRequest("The body ended too early, or came too slowly")
        wanted = size if size is not None and size >= 0 else None
        taken = []
        while wanted != 0:
            if not self._rest:
                if self.is_whole:
                    break
                self._rest = memoryview(self._next_piece())
            part = self._rest[:wanted]
            self._rest = self._rest[len(part) :]
            taken.append(part)
            if wanted is not None:
                wanted -= len(part)
        return b"".join(taken)

    def _next_piece(self) -> bytes:
        """Some bytes; none only at the end of a chunked body."""
        if self._read > _PIECE_BYTES:
            # Reading a fast body never waits, so other requests run here between its pieces.
            gevent.sleep(0)
        if self._pieces is None:
            self._sock.expect("body")
            if self._expects_continue:
                self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._pieces = self._iterate()
        try:
            piece = next(self._pieces, b"")
        except (ParseException, OSError, BodyTooSlow) as error:
            self.failed = True
            raise MalformedRequest("The body ended too early, or came too slowly") from error
        self._read += len(piece)
        held.add(self._address, len(piece))
        if not piece:
            self._length = self._read
        self._check_bounds()
        if self.is_whole and self._when_late is not None:
            late_at, look_again = self._when_late
            if time.monotonic() >= late_at:
                look_again()
        return piece

    def _iterate(self) -> Iterator[bytes]:
        if self._length is not None:
            while left := self._length - self._read:
                piece = self._reader.read(min(left, _PIECE_BYTES))
                if not piece:
                    raise NoMoreData
                yield piece
            return
        self._reader.limit_trailer_section = _PIECE_BYTES
        for number, piece in enumerate(self._reader.parser):
            yield piece
            if number > _FREE_CHUNKS + self._read // _MIN_CHUNK_BYTES:
                raise ParseException

    def _check_bounds(self) -> None:
        error: Exception | None = None
        if self._read > self._limit:
            error = TooLarge(self._too_large)
        elif held.total > settings.MAX_HELD_BYTES:
            catalog.requests_shed.labels("held_bytes").inc()
            error = StoreUnavailable(retry_after=5, limit="held_bytes")
        elif held.of(self._address) > settings.MAX_HELD_BYTES // 2:
            catalog.rate_limited.labels("held_bytes").inc()
            error = RateLimited(retry_after=5, limit="held_bytes")
        if error is not None:
            self.failed = True
            raise error

    def settle(self) -> None:
        """Called before the answer is sent: an unread body ends the connection, unless it is small and has arrived."""
        if not self.is_whole and not self.failed and not self._expects_continue:
            self._when_late = None
            self._sock.expect("arrived")
            self._limit = self._read + MAX_DROPPED_BYTES
            self._pieces = self._pieces or self._iterate()
            try:
                while not self.is_whole:
                    self._next_piece()
            except (MalformedRequest, TooLarge, RateLimited, StoreUnavailable):
                pass
        if not self.is_whole:
            self._request.force_close()

    def done(self) -> None:
        """The answer was sent, or the client is gone."""
        if self._read:
            held.add(self._address, -self._read)
        for function in self._when_done:
            function()


def body_of(request: HttpRequest) -> RequestBody | None:
    """A request's body as the project's gunicorn worker provides it; None under any other server."""
    body = request.META["wsgi.input"]
    return body if isinstance(body, RequestBody) else None


def accept_body(request: HttpRequest, limit: int, *, too_large: str = "") -> None:
    """Allow `limit` bytes of a request's body to be read. Raises TooLarge if the request announces more."""
    if body := body_of(request):
        text = too_large or f"The body may have {limit} bytes at most"
        body.accept(limit, too_large=text, address=state_of(request).client_address)
