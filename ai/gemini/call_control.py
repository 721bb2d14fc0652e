"""Ends a call to the model from outside: at a deadline, or when another thread cancels it.

The SDK supports neither. Both are implemented in the reads: every connection to the model is wrapped, and before and
during each read it consults the control of the current thread's call.
"""

from __future__ import annotations

import contextvars
import functools
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpcore2
import httpx2

from ai.gemini.joined_events import END, join_events
from ai.wrapped_stream import WrappedStream
from edgechat.processes.sockets import is_readable
from edgechat.processes.threads import is_pause_awaited, pause

# A read that takes longer than this has waited for data, so other threads have run.
WAITED_SECONDS = 0.001
# Connections that are kept for the next calls, and for how long.
MAX_IDLE = 20
IDLE_SECONDS = 30.0


class CallCancelled(Exception):
    """Another thread cancelled the call."""


class CallControl:
    """Controls one call; `cancel` may be called from any thread, before, during and after the call."""

    def __init__(self, *, timeout: float) -> None:
        self.deadline = time.monotonic() + timeout
        self.cancelled = False
        self.reached = False  # bytes of the request have been sent to the model
        self._has_waited = False  # for data, since the last chunk
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def cancel(self) -> None:
        """End the call. A blocked read wakes up immediately, nothing more is sent, and only received data is read."""
        with self._lock:
            self.cancelled = True
            if self._socket is not None:
                _wake(self._socket)

    def seconds_left(self, limit: float | None) -> float:
        """Seconds until the deadline, `limit` at most. Raises CallCancelled, or httpx2's timeout if none remain."""
        if self.cancelled:
            raise CallCancelled
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the call has taken too long")
        return left if limit is None else min(left, limit)

    @contextmanager
    def reading(self, sock: socket.socket | None) -> Iterator[None]:
        """Register the socket that is about to block."""
        with self._lock:
            if self.cancelled:
                raise CallCancelled
            self._socket = sock
        try:
            yield
        finally:
            with self._lock:
                self._socket = None

    def begin_slice(self) -> None:
        """Data have arrived. This call takes its place behind those that let others run, whose data arrived before."""
        if is_pause_awaited():
            pause()
        self._has_waited = True

    def share_time(self) -> None:
        """Let other threads run after a chunk for which this call has not waited.

        A model can be faster than this process. Its answer would stop all others for as long as it lasts.
        """
        if not self._has_waited:
            pause()
        self._has_waited = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the control of every model call in this thread within the block."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)


_active: contextvars.ContextVar[CallControl | None] = contextvars.ContextVar("active_model_call", default=None)


def _wake(sock: socket.socket) -> None:
    with suppress(OSError):
        # The plain socket's method, also for TLS sockets: their own would discard the TLS state of the reader.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _ControlledStream(WrappedStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        super().__init__(stream)
        self._received = b""  # by the last read
        self._used = 0  # how many of these bytes

    def around(self, stream: httpcore2.NetworkStream) -> _ControlledStream:
        return _ControlledStream(stream)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._received, self._used = self._read(max_bytes, timeout), 0
        return self._received

    def has_event_after(self, piece: bytes) -> bool:
        """Whether the last read has brought at least one more event after this piece of a body."""
        start = self._received.find(piece, self._used)
        if start < 0:
            return False
        self._used = start + len(piece)
        return self._received.find(END, self._used) >= 0

    def _read(self, max_bytes: int, timeout: float | None) -> bytes:
        control = _active.get()
        if control is None:
            return self._stream.read(max_bytes, timeout)
        sock = self._stream.get_extra_info("socket")
        began = time.monotonic()
        try:
            left = control.seconds_left(timeout)
            with control.reading(sock):
                data = self._stream.read(max_bytes, left)
            if time.monotonic() - began > WAITED_SECONDS:
                control.begin_slice()
        except CallCancelled:
            # Read what the model has sent, because it charges for it. A socket that is shut down does not block.
            _wake(sock)
            data = self._stream.read(max_bytes, timeout)
        if control.cancelled and not data:
            raise CallCancelled
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        control = _active.get()
        if control is not None:
            timeout = control.seconds_left(timeout)
            control.reached = True
        self._stream.write(buffer, timeout)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            # httpcore2 asks this of an idle connection, and its own way would let other threads run meanwhile.
            return is_readable(self._stream.get_extra_info("socket"))
        return self._stream.get_extra_info(info)


class _ControlledBackend(httpcore2.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        control = _active.get()
        left = control.seconds_left(timeout) if control else timeout
        return _ControlledStream(super().connect_tcp(host, port, left, local_address, socket_options))


class _Body(httpx2.SyncByteStream):
    def __init__(self, response: httpcore2.Response, on_close: Callable[[], None]) -> None:
        self._response = response
        self._on_close = on_close

    def __iter__(self) -> Iterator[bytes]:
        """The events of each read together, so that they can be joined."""
        stream = self._response.extensions["network_stream"]
        held = b""
        try:
            for piece in self._response.iter_stream():
                held += piece
                if not stream.has_event_after(piece):
                    yield join_events(held)
                    held = b""
        except Exception:
            yield join_events(held)
            raise
        yield join_events(held)

    def close(self) -> None:
        self._response.close()
        self._on_close()


class ControlledTransport(httpx2.BaseTransport):
    """HTTP/1.1 to one server, without a limit on connections. Its calls obey the CallControl that is active."""

    def __init__(self) -> None:
        self._ssl_context = httpx2.create_ssl_context()
        self._backend = _ControlledBackend()
        self._idle: deque[httpcore2.HTTPConnection] = deque()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        connection = self._idle_connection() or httpcore2.HTTPConnection(
            target.origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=self._backend,
        )
        response = connection.handle_request(
            httpcore2.Request(
                request.method,
                target,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        body = _Body(response, functools.partial(self._keep, connection))
        return httpx2.Response(response.status, headers=response.headers, stream=body, extensions=response.extensions)

    def _idle_connection(self) -> httpcore2.HTTPConnection | None:
        """The connection that was used last, if the server has not closed it."""
        with suppress(IndexError):  # there is none
            while True:
                connection = self._idle.pop()
                if not connection.has_expired():
                    return connection
                connection.close()
        return None

    def _keep(self, connection: httpcore2.HTTPConnection) -> None:
        """Keep a connection for the next calls, if its answer has been read to the end."""
        if connection.is_idle() and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class ControlledClient(httpx2.Client):
    """The HTTP client of the SDK. It passes requests straight to the ControlledTransport.

    httpx2's own client looks for redirects, cookies, authentication and hooks, which no call here uses, and httpcore2's
    pool looks at all of its connections twice for each call: together a fifth of a call's CPU time.
    """

    def __init__(self, *, timeout: httpx2.Timeout) -> None:
        self._controlled = ControlledTransport()
        super().__init__(transport=self._controlled, timeout=timeout, trust_env=False)

    def build_request(  # type: ignore[override]
        self, method: str, url: str, *, content: Any = None, headers: Any = None, **_: Any
    ) -> httpx2.Request:
        extensions = {"timeout": self.timeout.as_dict()}
        return httpx2.Request(method, _parsed(url), content=content, headers=headers, extensions=extensions)

    def send(self, request: httpx2.Request, *, stream: bool = False, **_: Any) -> httpx2.Response:
        response = self._controlled.handle_request(request)
        response.request = request
        if not stream:
            response.read()
        return response


# The SDK calls a few addresses.
_parsed = functools.lru_cache(maxsize=32)(httpx2.URL)
