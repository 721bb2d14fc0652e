"""A wrapper around a network stream of the HTTP library, whose subclasses change how it reads or writes.

`ai.fetch_url.transport` and `ai.gemini.call_control` use it.
"""

from __future__ import annotations

import ssl
from abc import abstractmethod
from typing import Any

import httpcore2


class WrappedStream(httpcore2.NetworkStream):
    """Passes everything on to `_stream`."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    @abstractmethod
    def around(self, stream: httpcore2.NetworkStream) -> WrappedStream:
        """The same around another stream: TLS replaces the plain one."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return self.around(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
