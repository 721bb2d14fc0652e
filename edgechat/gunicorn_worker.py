"""gunicorn's gevent worker, with an end that running replies survive and idle connections do not delay."""

from __future__ import annotations

from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker


class _IdleTimeout(gevent.Timeout):  # type: ignore[misc]
    """The wait for a connection's next request; kept among the worker's idle ones meanwhile."""

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
    """On SIGTERM gunicorn waits for open connections. Here running replies, which outlive their requests, are drained
    as well, and connections without a request are closed at once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: dict[_IdleTimeout, gevent.Greenlet] = {}
        self._draining: gevent.Greenlet | None = None

    def timeout_ctx(self) -> gevent.Timeout:
        # A connection that is idle once the worker ends gets no time at all.
        return _IdleTimeout(self.cfg.keepalive if self.alive else 0.01, self._idle)

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
