"""gunicorn's gevent worker, with limits for each client and a shutdown that running replies survive."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from typing import Any

import gevent
import structlog
from gunicorn import util
from gunicorn.workers.ggevent import GeventWorker

from edgechat.http.client_socket import ClientSocket
from edgechat.http.tally import Tally
from edgechat.processes.shortage import end_if_threads_cannot_start

# How long the worker reads the rest of an unread body after its answer. Closing a connection with unread bytes resets
# it, and the client may then never see the answer.
LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 1024


class _IdleTimeout(gevent.Timeout):  # type: ignore[misc]
    """The wait for a connection's next request. The worker lists the connection as idle meanwhile."""

    def __init__(self, seconds: float, idle: dict[_IdleTimeout, gevent.Greenlet]) -> None:
        super().__init__(seconds, False)
        self._idle = idle

    def __enter__(self) -> _IdleTimeout:
        self._idle[self] = gevent.getcurrent()
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *args: Any) -> Any:
        self._idle.pop(self, None)
        return super().__exit__(*args)


class Worker(GeventWorker):
    """Drains running replies on SIGTERM, and closes connections without a request immediately.

    Running replies outlive their requests; gunicorn's own worker waits only for open connections.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: dict[_IdleTimeout, gevent.Greenlet] = {}
        self._draining: gevent.Greenlet | None = None
        self._connections = Tally()

    def init_process(self) -> None:
        end_if_threads_cannot_start()
        super().init_process()

    def timeout_ctx(self) -> gevent.Timeout:
        # A connection that becomes idle after the worker started to stop gets no time.
        return _IdleTimeout(self.cfg.keepalive if self.alive else 0.01, self._idle)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        from edgechat.http.client_address import connection_key

        key = connection_key(addr)
        if not self._has_room(key):
            _refuse(client)
            return
        self._connections.add(key, 1)
        try:
            super().handle(listener, ClientSocket(client), addr)
        finally:
            self._connections.add(key, -1)

    def _has_room(self, key: str) -> bool:
        """Whether an address may have one more connection.

        Clients behind a proxy share its address: they are counted by their requests (`edgechat.http.rate_limit`).
        """
        from django.conf import settings

        if settings.TRUSTED_PROXY_COUNT or not key:
            return True
        return self._connections.of(key) < settings.MAX_CONNECTIONS_PER_ADDRESS

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        from edgechat.http.request_body import RequestBody

        req.body = body = RequestBody(req, sock)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            body.done()
            # What gunicorn says about the connection's next request must not have the ids of this one.
            structlog.contextvars.clear_contextvars()
            sock.expect("head")
            if not body.is_whole:
                sock.expect("anything")
                util.close_graceful(sock, timeout=LINGER_SECONDS, max_drain=LINGER_BYTES)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        if self._draining is None:
            self._draining = gevent.spawn(self._drain)

    def run(self) -> None:
        super().run()
        if self._draining is not None:
            self._draining.join()

    def _drain(self) -> None:
        from conversations.replies.shutdown import drain_replies

        for timeout, connection in list(self._idle.items()):
            gevent.kill(connection, timeout)
        drain_replies()


def _refuse(client: Any) -> None:
    """Answer 429, in the shape of every error, to a connection beyond the limit, without waiting for its request."""
    from edgechat.http.refusals import count_refusal
    from edgechat.metrics import catalog

    catalog.rate_limited.labels("connections").inc()
    count_refusal(429, "rate_limited:connections")
    body = json.dumps({"detail": "Too many connections", "code": "rate_limited", "request_id": str(uuid.uuid4())})
    head = "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    client.setblocking(False)
    with suppress(OSError):
        client.send(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        client.recv(LINGER_BYTES)
    client.close()
