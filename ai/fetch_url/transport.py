"""One HTTP connection to an address that has been checked."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any

import httpcore2
import httpx2

from ai.fetch_url.limits import CANNOT_READ, Deadline, PageRefused
from ai.wrapped_stream import WrappedStream
from edgechat.processes.threads import Pauses

CONNECT_SECONDS = 3.0
# For the status line and the headers, including those of informational responses before them.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEAD_LINES = 1000
# Servers send kilobytes at a time. Each read costs the same, for one byte or for many.
MAX_PIECES = 20_000
_READ_BYTES = 8 * 1024


@contextmanager
def open_pinned(
    url: httpx2.URL,
    addresses: list[str],
    *,
    headers: Mapping[str, str],
    deadline: Deadline,
    ssl_context: ssl.SSLContext,
) -> Iterator[httpcore2.Response]:
    """GET a URL from the first of `addresses` that answers, whatever host the URL names.

    The Host header, the TLS server name and the check of the certificate use the name. Only a connection: a client
    would add cookies, credentials and proxies.
    """
    backend = _PinnedBackend(addresses, deadline)
    pool = httpcore2.ConnectionPool(ssl_context=ssl_context, max_keepalive_connections=0, network_backend=backend)
    target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    timeouts = {"timeout": httpx2.Timeout(deadline.left()).as_dict()}
    with (
        closing(backend),
        pool,
        pool.stream("GET", target, headers=list(headers.items()), extensions=timeouts) as response,
    ):
        backend.head_is_read()
        yield response


def bounded(pieces: Iterable[bytes], *, max_bytes: int) -> Iterator[bytes]:
    """The pieces of a packed body. Raises PageRefused for too many bytes, or too many pieces."""
    left = max_bytes
    pauses = Pauses()
    for number, piece in enumerate(pieces):
        left -= len(piece)
        if left < 0:
            raise too_large(max_bytes)
        if number >= MAX_PIECES:
            raise PageRefused(CANNOT_READ)
        pauses.pause()
        yield piece


def too_large(max_bytes: int) -> PageRefused:
    return PageRefused(f"The page is larger than {max_bytes / 1024**2:g} MB")


class _Reading:
    """How much a connection may still send until the head of its response is complete; None after that."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._pauses = Pauses()
        self.head_left: int | None = MAX_HEAD_BYTES
        self._sockets_left = MAX_HEAD_LINES

    def begin(self) -> None:
        """Let other requests run. Raises PageRefused at the deadline.

        Reading from a server that sends fast never blocks, so one fetch would otherwise occupy the process.
        """
        self._deadline.left()
        self._pauses.pause()

    def count(self, data: bytes) -> None:
        if self.head_left is not None:
            self.head_left -= len(data)
            self._sockets_left -= data.partition(b"\r\n\r\n")[0].count(b"\n")
            if self.head_left < 0 or self._sockets_left < 0:
                raise httpcore2.RemoteProtocolError("a head without end")


class _Stream(WrappedStream):
    """Reads in small pieces, within the limits of `_Reading`."""

    def __init__(self, stream: httpcore2.NetworkStream, reading: _Reading) -> None:
        super().__init__(stream)
        self._reading = reading

    def around(self, stream: httpcore2.NetworkStream) -> _Stream:
        return _Stream(stream, self._reading)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._reading.begin()
        data = self._stream.read(min(max_bytes, _READ_BYTES), timeout)
        self._reading.count(data)
        return data


class _PinnedBackend(httpcore2.SyncBackend):
    def __init__(self, addresses: list[str], deadline: Deadline) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._reading = _Reading(deadline)
        self._alarm: threading.Timer | None = None
        self._socket: socket.socket | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        failure: Exception = httpcore2.ConnectError("no address")
        for address in self._addresses:
            seconds = min(CONNECT_SECONDS, self._deadline.left())
            try:
                stream = super().connect_tcp(address, port, seconds, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                self._cut_at_the_deadline(stream.get_extra_info("socket"))
                return _Stream(stream, self._reading)
        raise failure

    def head_is_read(self) -> None:
        self._reading.head_left = None

    def _cut_at_the_deadline(self, sock: socket.socket) -> None:
        """Shut the socket down at the deadline: its own timeout restarts with each byte, also inside TLS."""
        # TLS detaches the socket from its object, so a duplicate refers to the connection.
        self._socket = sock.dup()
        self._alarm = threading.Timer(self._deadline.left(), _shut_down, [self._socket])
        self._alarm.daemon = True
        self._alarm.start()

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            # Otherwise the timer might shut down the next user of this file descriptor.
            self._alarm.join()
        if self._socket is not None:
            self._socket.close()


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
