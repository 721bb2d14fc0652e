"""gevent's HTTP server with a model's treatment of clients: it cuts connections on demand, and ends calls on a hang-up.

A request is read whole before its handler runs. The handler is ended with ClientGone when the client disconnects.
"""

import errno
import json
import socket
import struct
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import gevent
from gevent.pywsgi import WSGIHandler, WSGIServer

MAX_BODY_BYTES = 64 * 1024 * 1024
LISTEN_BACKLOG = 4096
JSON_TYPE = "application/json; charset=UTF-8"


@dataclass(slots=True)
class Request:
    """One request. `path` is percent-decoded, `key` is the API key as given, `received_at` is in epoch seconds."""

    method: str
    path: str
    query: dict[str, str]
    key: str
    body: bytes
    received_at: float


class Cut(Exception):
    """The answer stops here, unfinished, and the connection is closed."""


class ClientGone(gevent.GreenletExit):  # type: ignore[misc]  # gevent has no types
    """The client has closed its connection."""


Handler = Callable[["Responder"], None]
FaultBody = Callable[[int, str], bytes]
StartResponse = Callable[[str, list[tuple[str, str]]], Callable[[bytes], None]]


class Responder:
    """Sends the answer to one request. Every write waits while the client reads more slowly than the server writes."""

    write: Callable[[bytes], None]

    def __init__(self, request: Request, start_response: StartResponse, sock: socket.socket) -> None:
        self.request = request
        self.started = False
        self._start_response = start_response
        self._socket = sock

    def respond(
        self, status: int, body: bytes, content_type: str = JSON_TYPE, headers: dict[str, str] | None = None
    ) -> None:
        """Send a whole answer."""
        self.begin(status, content_type, length=len(body), headers=headers)
        self.write(body)

    def respond_json(self, status: int, payload: Any) -> None:
        self.respond(status, encode_json(payload))

    def begin(
        self, status: int, content_type: str, length: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        """Send the head; without `length` the body is chunked."""
        self.started = True
        sent = {"Content-Type": content_type, **(headers or {})}
        if length is not None and status != HTTPStatus.NO_CONTENT:
            sent["Content-Length"] = str(length)
        self.write = self._start_response(f"{status} {reason_of(status)}", list(sent.items()))
        self.write(b"")

    def cut(self, *, reset: bool) -> None:
        """Raise Cut: the client sees a TCP reset, or an end of file in the middle."""
        if reset:
            # Lingering for 0 s makes close() send a reset instead of an orderly end.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Cut


class _ConnectionHandler(WSGIHandler):  # type: ignore[misc]
    """Adds the connection and a bound on bodies to pywsgi's handler; removes the log line for each request."""

    def read_request(self, raw_requestline: str) -> Any:
        understood = super().read_request(raw_requestline)
        if (self.content_length or 0) > MAX_BODY_BYTES:
            raise ValueError("the body is too large")
        return understood

    def get_environ(self) -> Any:
        environ = super().get_environ()
        environ["edgechat.socket"] = self.socket
        return environ

    def log_request(self) -> None:
        """The model records its calls itself."""


def make_server(listener: socket.socket, handler: Handler, fault_body: FaultBody) -> WSGIServer:
    """A server for a listening socket, ready to be started. gevent must have patched every module."""

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        sock = environ["edgechat.socket"]
        # Parts of an answer are small, and no part should wait until the client has acknowledged the one before it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            body = environ["wsgi.input"].read(MAX_BODY_BYTES + 1)
            responder = Responder(_request_of(environ, body), start_response, sock)
            if len(body) > MAX_BODY_BYTES:
                responder.respond(413, fault_body(413, f"The body is larger than {MAX_BODY_BYTES} bytes."))
                raise Cut
            _handle(handler, responder, fault_body, sock)
        except (Cut, ClientGone, OSError):
            # pywsgi treats this as a disconnected client: it closes the connection, sends nothing, and logs nothing.
            raise ConnectionResetError(errno.ECONNRESET, "cut") from None
        return ()

    return WSGIServer(listener, application, log=None, handler_class=_ConnectionHandler)


def _handle(handler: Handler, responder: Responder, fault_body: FaultBody, sock: Any) -> None:
    """Run the handler; end it with ClientGone when the client closes its sending side."""
    handling = gevent.getcurrent()
    watcher = gevent.get_hub().loop.io(sock.fileno(), 1)

    def look() -> None:
        with suppress(BlockingIOError):
            try:
                gone = not sock._sock.recv(1, socket.MSG_PEEK)
            except ConnectionError:
                gone = True
            if gone:
                handling.kill(ClientGone, block=False)
            watcher.stop()  # otherwise it would read the next request, which may be here already

    watcher.start(look)
    try:
        handler(responder)
    except (Cut, OSError):
        raise
    except Exception:
        traceback.print_exc()
        if responder.started:
            responder.cut(reset=True)
        responder.respond(500, fault_body(500, "Internal error of the local model server."))
    finally:
        watcher.stop()
        watcher.close()


def _request_of(environ: dict[str, Any], body: bytes) -> Request:
    return Request(
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"].encode("latin-1").decode(errors="replace"),
        query=dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)),
        key=environ.get("HTTP_X_GOOG_API_KEY", ""),
        body=body,
        received_at=time.time(),
    )


def encode_json(payload: Any) -> bytes:
    """Compact UTF-8. A lone surrogate, which UTF-8 cannot represent, is written as an escape."""
    try:
        return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(payload, separators=(",", ":")).encode()


def reason_of(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
