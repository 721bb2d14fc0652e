"""HTTP/1.1 for one purpose: thousands of long calls at once on one core, whose hang-ups are noticed at once.

A request is read whole before its handler runs. The handler is a task that is cancelled when the client goes away.
"""

import asyncio
import json
import socket
import struct
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
LISTEN_BACKLOG = 4096
JSON_TYPE = "application/json; charset=UTF-8"


@dataclass(slots=True)
class Request:
    """One request; `path` is percent-decoded, header names are lower case, `received_at` is in epoch seconds."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    received_at: float


class BadRequest(Exception):
    """The bytes are no request that can be answered; the connection is closed after `status`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


Handler = Callable[["Exchange"], Awaitable[None]]
FaultBody = Callable[[int, str], bytes]


class Exchange:
    """A request and the way to answer it. Every write waits while the client reads slower than we write."""

    def __init__(self, request: Request, connection: "Connection") -> None:
        self.request = request
        self.started = False
        self.ended = False
        self._connection = connection
        self._chunked = False

    async def respond(
        self, status: int, body: bytes, content_type: str = JSON_TYPE, headers: dict[str, str] | None = None
    ) -> None:
        """Sends a whole answer."""
        await self.begin(status, content_type, length=len(body), headers=headers)
        await self._send(body)
        self.ended = True

    async def respond_json(self, status: int, payload: Any) -> None:
        await self.respond(status, encode_json(payload))

    async def begin(
        self, status: int, content_type: str, length: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        """Sends the head; without `length` the body is chunked, and ends with `end`."""
        self.started = True
        self._chunked = length is None
        lines = [f"HTTP/1.1 {status} {reason_of(status)}", f"Content-Type: {content_type}"]
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if not self._connection.keep_alive:
            lines.append("Connection: close")
        await self._send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def write(self, data: bytes) -> None:
        """Sends a part of the body. An empty part would end a chunked body, so it sends nothing."""
        if data:
            await self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        if self._chunked:
            await self._send(b"0\r\n\r\n")
        self.ended = True

    async def reset(self) -> None:
        """Cuts the connection with a TCP reset once all that was written has left."""
        await self._connection.flush()
        self._connection.reset()

    async def close(self) -> None:
        """Ends the connection without ending the answer: the client sees an end of file in the middle."""
        await self._connection.flush()
        self._connection.close()

    async def _send(self, data: bytes) -> None:
        await self._connection.send(data)


class Connection(asyncio.Protocol):
    """One client's connection: its requests are answered one after the other."""

    def __init__(self, handler: Handler, fault_body: FaultBody, connections: set["Connection"]) -> None:
        self._handler = handler
        self._fault_body = fault_body
        self._connections = connections
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Event = asyncio.Event()
        self._writable.set()
        self._continued = False
        self.keep_alive = True
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        # A client that shut its side is gone for us: nobody half-closes and then waits for a model.
        return False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._start_next()
        elif len(self._buffer) > MAX_HEAD_BYTES:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def send(self, data: bytes) -> None:
        self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    async def flush(self) -> None:
        """Waits until the kernel has taken all that was written."""
        self._transport.set_write_buffer_limits(high=0)
        await self._writable.wait()

    def reset(self) -> None:
        # Lingering for 0 s is what makes close() send a reset instead of an orderly end.
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()

    def _start_next(self) -> None:
        try:
            request = self._take_request()
        except BadRequest as fault:
            body = self._fault_body(fault.status, str(fault))
            head = (
                f"HTTP/1.1 {fault.status} {reason_of(fault.status)}\r\nContent-Type: {JSON_TYPE}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self._transport.write(head.encode("latin-1") + body)
            self._transport.close()
            return
        if request is not None:
            self._task = asyncio.get_running_loop().create_task(self._answer(Exchange(request, self)))

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            if exchange.started:
                self.reset()
            else:
                await exchange.respond(500, self._fault_body(500, "Internal error of the local model server."))
        self._task = None
        if self._transport.is_closing():
            return
        if not exchange.ended or not self.keep_alive:
            self._transport.close()
            return
        self._transport.resume_reading()
        if self._buffer:
            self._start_next()

    def _take_request(self) -> Request | None:
        """The next whole request out of the buffer, or None while it is incomplete. Raises BadRequest."""
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end > MAX_HEAD_BYTES or (head_end < 0 and len(self._buffer) > MAX_HEAD_BYTES):
            raise BadRequest(431, "The request's head is too large.")
        if head_end < 0:
            return None
        method, target, version, headers = parse_head(bytes(self._buffer[:head_end]))
        start = head_end + 4
        if "transfer-encoding" in headers:
            taken = take_chunked(self._buffer, start, headers)
        else:
            taken = take_sized(self._buffer, start, headers)
        if taken is None:
            if headers.get("expect", "").lower() == "100-continue" and not self._continued:
                self._continued = True
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        body, end = taken
        del self._buffer[:end]
        self._continued = False
        asked = headers.get("connection", "").lower()
        self.keep_alive = asked != "close" if version == "HTTP/1.1" else asked == "keep-alive"
        try:
            url = urlsplit(target)
        except ValueError as fault:
            raise BadRequest(400, "The request's target is not a URL.") from fault
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        return Request(method, unquote(url.path), query, headers, body, time.time())


def parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    """Method, target, version and headers. Raises BadRequest."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(400, "The request line is not HTTP/1.1.")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "A header line is malformed.")
        name, value = name.lower(), value.strip()
        if name in ("content-length", "transfer-encoding") and headers.get(name, value) != value:
            raise BadRequest(400, f"The header {name} is given twice.")
        headers[name] = value
    return words[0], words[1], words[2], headers


def take_sized(buffer: bytearray, start: int, headers: dict[str, str]) -> tuple[bytes, int] | None:
    """Body and the position after it, by Content-Length (absent: 0); None while incomplete."""
    length_text = headers.get("content-length", "0")
    if not (length_text.isascii() and length_text.isdigit()):
        raise BadRequest(400, "Content-Length is not a number.")
    length = int(length_text) if len(length_text) < 20 else MAX_BODY_BYTES + 1
    if length > MAX_BODY_BYTES:
        raise BadRequest(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
    if len(buffer) < start + length:
        return None
    return bytes(buffer[start : start + length]), start + length


def take_chunked(buffer: bytearray, start: int, headers: dict[str, str]) -> tuple[bytes, int] | None:
    """The same for a chunked body; trailers are refused."""
    if headers["transfer-encoding"].lower() != "chunked" or "content-length" in headers:
        raise BadRequest(400, "The body's length is ambiguous.")
    spans: list[tuple[int, int]] = []
    total = 0
    while True:
        line_end = buffer.find(b"\r\n", start)
        if line_end < 0:
            return None
        size_text = bytes(buffer[start:line_end]).split(b";")[0].strip()
        try:
            size = int(size_text, 16)
        except ValueError as fault:
            raise BadRequest(400, "A chunk's size is not a number.") from fault
        total += size
        if size < 0 or total > MAX_BODY_BYTES:
            raise BadRequest(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
        data_start, data_end = line_end + 2, line_end + 2 + size
        if len(buffer) < data_end + 2:
            return None
        if buffer[data_end : data_end + 2] != b"\r\n":
            raise BadRequest(400, "A chunk does not end where it says.")
        start = data_end + 2
        if size == 0:
            return b"".join(bytes(buffer[first:last]) for first, last in spans), start
        spans.append((data_start, data_end))


def encode_json(payload: Any) -> bytes:
    """Compact UTF-8; a lone surrogate, which UTF-8 can't carry, is written as an escape."""
    try:
        return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(payload, separators=(",", ":")).encode()


def reason_of(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class HttpServer:
    """Serves one listening socket until `close`."""

    def __init__(self, listener: socket.socket, handler: Handler, fault_body: FaultBody) -> None:
        self._listener = listener
        self._handler = handler
        self._fault_body = fault_body
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._handler, self._fault_body, self._connections),
            sock=self._listener,
            backlog=LISTEN_BACKLOG,
        )

    def close(self) -> None:
        """Stops listening and drops every connection at once; running handlers are cancelled."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
