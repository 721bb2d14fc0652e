"""HTTP by hand, for requests that no client library sends."""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from conftest import new_address

TCP_CLOSED = 7


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def code(self) -> str:
        """The code of an error, from a body in the one shape of errors."""
        body: dict[str, Any] = json.loads(self.content)
        assert set(body) - {"errors", "context"} == {"detail", "code", "request_id"}
        return str(body["code"])


class RawClient:
    """One connection, with its own client address unless one is given."""

    def __init__(self, url: str, *, token: str | None = None, address: str | None = None, buffer: int = 0) -> None:
        parts = urlsplit(url)
        self.sock = socket.socket()
        if buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.settimeout(120)
        self.sock.connect((parts.hostname, parts.port))
        self._fixed = {"Host": parts.netloc, "X-Forwarded-For": address or new_address()["X-Forwarded-For"]}
        if token is not None:
            self._fixed["Authorization"] = f"Bearer {token}"
        self._received = b""

    def begin(self, method: str, path: str, body: bytes = b"", version: str = "1.1", **headers: Any) -> None:
        """Send a head, with `Content_Length=...` for `Content-Length`, and the beginning of a body."""
        lines = [f"{method} {path if path.startswith('/') else '/api/v1/' + path} HTTP/{version}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in {**self._fixed, **headers}.items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def chunk(self, data: bytes) -> None:
        self.sock.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def answer(self, *, pause: float = 0.0) -> Answer:
        """The next answer. A slow reader makes a `pause` (s) after each piece of 64 KB at most."""
        while not self.has_answer:
            self.receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        if headers.get("Transfer-Encoding") == "chunked":
            return Answer(int(first.split()[1]), headers, b"".join(iter(self._read_chunk, b"")))
        length = int(headers.get("Content-Length", 0))
        while len(self._received) < length:
            self.receive()
            time.sleep(pause)
        content, self._received = self._received[:length], self._received[length:]
        return Answer(int(first.split()[1]), headers, content)

    def _read_chunk(self) -> bytes:
        while b"\r\n" not in self._received:
            self.receive()
        size, _, self._received = self._received.partition(b"\r\n")
        end = int(size, 16)
        while len(self._received) < end + 2:
            self.receive()
        chunk, self._received = self._received[:end], self._received[end + 2 :]
        return chunk

    def receive(self) -> None:
        data = self.sock.recv(65536)
        assert data, f"the connection ended after {self._received!r}"
        self._received += data

    @property
    def has_answer(self) -> bool:
        """Whether the head of an answer was received."""
        return b"\r\n\r\n" in self._received

    def is_closed(self) -> bool:
        """Whether the server ends the connection within two minutes. Nothing more is sent or read meanwhile."""
        try:
            return not self._received and self.sock.recv(1) == b""
        except ConnectionError:
            return True

    @property
    def state(self) -> int:
        """The kernel's state of the connection; TCP_CLOSED after a reset."""
        return int(struct.unpack("B", self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()
