"""Bounds every wait for PostgreSQL by `edgechat.stores.store_time`; after a failed wait none follows immediately.

libpq waits for an answer without a limit: a stopped server, or a network that drops packets, would block a request
forever.
"""

from __future__ import annotations

import contextvars
import threading
import time
from typing import Any

import gevent.socket
import psycopg
import structlog
from django.db.backends.postgresql import base
from psycopg import IsolationLevel, pq

from edgechat.metrics import catalog, sampling
from edgechat.stores import pooler, store_time
from edgechat.stores.breaker import Breaker

logger = structlog.get_logger(__name__)

# For cancelling a statement on a running server. A server that does not accept even this counts as gone.
CANCEL_SECONDS = 0.5
# A server that answered another connection within this time is not gone.
ANSWERED_SECONDS = 1.0

# The server cannot run this statement now, and no other statement would help: it is a standby or read-only for a while,
# its file system was mounted read-only (which it tells as a lack of privileges), or it met a fault of its own, such as
# a file that cannot grow or is damaged. The fault of a full disk is an OperationalError already.
_CANNOT_NOW = (
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.InternalError_,
    psycopg.errors.DataCorrupted,
    psycopg.errors.IndexCorrupted,
)

_breaker = Breaker("postgresql")
_answered_at = float("-inf")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed after a timeout, because a statement may still be running on it."""

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
        try:
            return super().connect(conninfo, **kwargs)
        except psycopg.OperationalError as error:
            # A server that refuses a connection is alive, for example with all connections taken, if it still serves
            # this process's other connections.
            if not ("FATAL" in str(error) and _has_others()):
                _trip()
            if pooler.refuses_options(error):
                raise psycopg.OperationalError(f"{pooler.ADVICE} ({error})") from error
            raise

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        if timeout is not None:  # psycopg's own limit
            return super().wait(gen, interval, timeout)
        with store_time.waiting() as seconds:
            try:
                result = _wait_in_loop(gen, self.pgconn.socket, seconds)
            except psycopg.errors._WaitTimeout:
                self._give_up(seconds)
                raise psycopg.OperationalError(f"PostgreSQL did not answer within {seconds:.1f} s") from None
            except _CANNOT_NOW as error:
                raise psycopg.OperationalError(str(error)) from error
            except psycopg.OperationalError:
                if self.pgconn.status == pq.ConnStatus.BAD:
                    _close_idle()  # the server was restarted, for example, and has closed the others too
                raise
        _note_answer()
        return result

    def _give_up(self, seconds: float) -> None:
        """Give up the connection, which a thread cancels and closes, because the request's time is over.

        The thread closes it last: PgBouncer finds the statement to cancel by the connection of its client.
        """
        abandoned, self.pgconn = self.pgconn, _closed_connection()
        self._closed = True
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(_cancel_and_close, abandoned, seconds), daemon=True).start()


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        with store_time.waiting() as seconds:
            if not seconds or not _breaker.allows():
                raise psycopg.OperationalError("PostgreSQL did not answer a moment ago")
            if self.pool is None:
                return super().get_new_connection(conn_params)
            # As in Django, except for the time limit.
            self.isolation_level = IsolationLevel.READ_COMMITTED
            self.pool.open()
            return self.pool.getconn(min(seconds, self.pool.timeout))

    def _set_autocommit(self, autocommit: bool) -> None:
        # psycopg would take its locks to change nothing. The pool's connections have it since their first use.
        if self.connection.autocommit != autocommit:
            super()._set_autocommit(autocommit)  # type: ignore[misc]


def _closed_connection() -> Any:
    """libpq's own form of a closed connection, for whoever still has the object of an abandoned one."""
    connection = pq.PGconn.connect_start(b"closed")  # no valid settings, so libpq does not try to connect
    connection.finish()
    return connection


def _cancel_and_close(abandoned: Any, seconds: float) -> None:
    try:
        cancellation = abandoned.cancel_conn()
        cancellation.start()
        psycopg.waiting.wait_conn(
            psycopg.generators.cancel(cancellation), 0.1, timeout=CANCEL_SECONDS + store_time.allowance()
        )
    except (psycopg.Error, psycopg.errors._WaitTimeout) as error:
        logger.warning("database_does_not_answer", seconds=seconds, reason=repr(error))
        _trip()
    finally:
        abandoned.finish()


def _wait_in_loop(gen: Any, fileno: int, seconds: float) -> Any:
    """Do as psycopg's `wait`, in gevent's event loop itself.

    psycopg's own goes through gevent's `poll`, which takes a tenth of a statement's time. Raises _WaitTimeout, like it.
    """
    deadline = time.monotonic() + seconds
    try:
        events = next(gen)  # of reading 1, of writing 2: the same numbers in psycopg and in gevent
        while True:
            watcher = gevent.get_hub().loop.io(fileno, events)
            try:
                left = max(0.0, deadline - time.monotonic())
                gevent.socket.wait(watcher, left, psycopg.errors._WaitTimeout())
            finally:
                watcher.close()
            events = gen.send(events)
    except StopIteration as done:
        return done.value


def _pools() -> list[Any]:
    return list(base.DatabaseWrapper._connection_pools.values())  # type: ignore[attr-defined]


def _sample_pools() -> None:
    for pool in _pools():
        stats = pool.get_stats()
        catalog.pool_in_use.labels("postgresql").set(stats["pool_size"] - stats["pool_available"])
        catalog.pool_idle.labels("postgresql").set(stats["pool_available"])
        catalog.pool_waiting.labels("postgresql").set(stats["requests_waiting"])
        catalog.pool_limit.labels("postgresql").set(stats["pool_max"])


sampling.register(_sample_pools)


def _has_others() -> bool:
    """Whether this process has connections besides the one that it is opening."""
    return any(pool._nconns > 1 for pool in _pools())


def _note_answer() -> None:
    global _answered_at
    _answered_at = time.monotonic()
    _breaker.reset()


def _trip() -> None:
    """Open the breaker and fail all threads that wait for a connection, unless other connections have answers."""
    if time.monotonic() - _answered_at < ANSWERED_SECONDS:
        return
    _breaker.trip()
    for pool in _pools():
        with pool._lock:
            waiting = list(pool._waiting)
            pool._waiting.clear()
        for client in waiting:
            client.fail(psycopg.OperationalError("PostgreSQL does not answer"))
    _close_idle()


def _close_idle() -> None:
    """Close idle connections: they are no better than the one that failed."""
    for pool in _pools():
        with pool._lock:
            idle = list(pool._pool)
            pool._pool.clear()
            pool._nconns -= len(idle)
            pool._nconns_min = 0
        for connection in idle:
            connection.close()
