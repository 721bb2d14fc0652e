"""A client's connection with bounds: bytes of headers, time to send a body, time to read an answer."""

from __future__ import annotations

import errno
import socket as stdlib_socket
import struct
import time
from contextlib import suppress
from typing import Any, Literal

import structlog
from django.conf import settings
from gevent.socket import socket
from gunicorn.http.errors import LimitRequestHeaders

from edgechat.processes.threads import is_working, waiting
from edgechat.stores import store_time

logger = structlog.get_logger(__name__)

MAX_HEAD_BYTES = 64 * 1024
# How late a body may be, and the rate at which it must come beyond that. Faster bytes save time for later, but at most
# SLOW_READER_SECONDS: an upload that stops near its end would otherwise hold its file for hours.
BODY_GRACE_SECONDS = 5.0
BODY_BYTES_PER_SECOND = 4096
# An answer is sent in pieces of this size. Each may wait for SLOW_READER_SECONDS; the operating system buffers as much
# again.
PIECE_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)


# What a read waits for: a request's head, its body, only the part of the body that has arrived, or anything.
Expected = Literal["head", "body", "arrived", "anything"]


class BodyTooSlow(Exception):
    """A body comes slower than BODY_BYTES_PER_SECOND."""


class ClientSocket(socket):  # type: ignore[misc]
    """An accepted socket, taken over from another object.

    Raises LimitRequestHeaders for a head beyond MAX_HEAD_BYTES, BodyTooSlow, and BrokenPipeError when the client does
    not read its answer; the connection is then closed.
    """

    def __init__(self, accepted: Any) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        # By default the buffer grows to megabytes of an answer that the client does not read.
        self.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, PIECE_BYTES)
        self.timeout: float | None = None
        self._expected: Expected = "head"
        self._received = 0
        self._patience = BODY_GRACE_SECONDS

    def expect(self, what: Expected) -> None:
        """Set what the next reads wait for, and start counting their bytes and time."""
        self._expected, self._received, self._patience = what, 0, BODY_GRACE_SECONDS

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self._expected == "body":
            return self._recv_body(size, flags)
        if self._expected == "arrived":
            return self._sock.recv(size, flags)  # type: ignore[no-any-return]
        data: bytes = super().recv(size, flags)
        self._received += len(data)
        if self._expected == "head" and self._received > MAX_HEAD_BYTES:
            raise LimitRequestHeaders("limit request headers size")
        return data

    def _recv_body(self, size: int, flags: int) -> bytes:
        try:
            data = self._sock.recv(size, flags)
        except BlockingIOError:
            began = time.monotonic()
            if self._patience <= 0:
                raise BodyTooSlow from None
            self.timeout = self._patience
            try:
                with waiting(patience=store_time.patience_seconds()):
                    data = super().recv(size, flags)
            except TimeoutError:
                raise BodyTooSlow from None
            finally:
                self.timeout = None
                self._patience -= time.monotonic() - began
        earned = self._patience + len(data) / BODY_BYTES_PER_SECOND
        self._patience = min(earned, max(BODY_GRACE_SECONDS, settings.SLOW_READER_SECONDS))
        return data  # type: ignore[no-any-return]

    def sendall(self, data: Any, flags: int = 0) -> None:
        view = memoryview(data)
        if not is_working():
            with suppress(BlockingIOError):  # most answers fit the operating system's buffer, and nothing waits
                view = view[self._sock.send(view[:PIECE_BYTES], flags) :]
            if not view:
                return
        self.timeout = settings.SLOW_READER_SECONDS
        try:
            with waiting():
                for start in range(0, len(view), PIECE_BYTES):
                    super().sendall(view[start : start + PIECE_BYTES], flags)
        except TimeoutError:
            logger.info("slow_reader_cut", bytes=len(view))
            self.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, _RESET)
            raise BrokenPipeError(errno.EPIPE, "The client does not read") from None
        finally:
            self.timeout = None
