"""Redis: one bounded pool for each process, short waits, and no attempt for a second after a failure."""

from __future__ import annotations

import dataclasses
import functools
import queue
import time
from contextlib import suppress
from typing import Any

import redis
import structlog
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django_redis import get_redis_connection
from django_redis.pool import ConnectionFactory
from django_redis.serializers.json import JSONSerializer
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from edgechat.metrics import catalog, sampling
from edgechat.processes.sockets import is_readable
from edgechat.stores.breaker import Breaker
from edgechat.telemetry import spans

logger = structlog.get_logger(__name__)

RedisError = redis.exceptions.RedisError
ResponseError = redis.exceptions.ResponseError
LockNotOwnedError = redis.exceptions.LockNotOwnedError
Script = redis.commands.core.Script

# KEYS[1] a key, ARGV[1] the type of EdgeChat's own keys of this name.
_DROP_FOREIGN = """
    if redis.call('TYPE', KEYS[1]).ok ~= ARGV[1] then return redis.call('DEL', KEYS[1]) end
    return 0
"""


# Every operation either reaches Redis or fails immediately; requests must not queue for a dead server.
_breaker = Breaker("redis")


class _GuardedMixin:
    """A connection that does not try while the breaker is open, and trips it when it fails."""

    _opening = False

    def connect(self) -> None:
        if self._sock:  # type: ignore[attr-defined]
            return
        _require_closed_breaker()
        self._opening = True
        try:
            super().connect()  # type: ignore[misc]
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            _breaker.trip()
            raise
        finally:
            self._opening = False
        _breaker.reset()

    def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        if not self._opening:  # opening the connection has already passed the breaker
            _require_closed_breaker()
        try:
            super().send_packed_command(*args, **kwargs)  # type: ignore[misc]
        except redis.exceptions.TimeoutError:
            _breaker.trip()
            raise

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            response = super().read_response(*args, **kwargs)  # type: ignore[misc]
        except redis.exceptions.TimeoutError:
            _breaker.trip()
            raise
        except ResponseError:
            _breaker.reset()
            raise
        _breaker.reset()
        return response

    def can_read(self, timeout: float = 0) -> bool:
        """Whether an idle connection has an end or bytes to read. The pool asks this before each command."""
        if timeout:
            return super().can_read(timeout)  # type: ignore[misc,no-any-return]
        return is_readable(self._sock)  # type: ignore[attr-defined]


def _require_closed_breaker() -> None:
    if not _breaker.allows():
        raise redis.exceptions.ConnectionError("Redis failed less than a second ago")


class GuardedConnection(_GuardedMixin, Connection):
    pass


class GuardedSSLConnection(_GuardedMixin, SSLConnection):
    pass


class GuardedUnixConnection(_GuardedMixin, UnixDomainSocketConnection):
    pass


_GUARDED = {"redis": GuardedConnection, "rediss": GuardedSSLConnection, "unix": GuardedUnixConnection}


class ConnectionPool(BlockingConnectionPool):
    """redis-py's pool without its telemetry, which took as long as the rest of a command."""

    waiting = 0  # threads that ask for a connection

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        self._checkpid()
        self.waiting += 1
        try:
            connection = self.pool.get(timeout=self.timeout)
        except queue.Empty:
            raise redis.exceptions.ConnectionError("No connection available.") from None
        finally:
            self.waiting -= 1
        try:
            connection = connection or self.make_connection()  # type: ignore[no-untyped-call]
            connection.connect()
            if connection.can_read():  # the server has closed it
                connection.disconnect()
                connection.connect()
        except BaseException:
            self.release(connection)
            raise
        return connection

    def release(self, connection: Any) -> None:
        self._checkpid()
        if connection is not None and not self.owns_connection(connection):  # of the process before a fork
            connection.disconnect()
            connection = None
        with suppress(queue.Full):
            self.pool.put_nowait(connection)


class Client(redis.Redis):
    """redis-py's client, without its telemetry and its loop of attempts: each command has one."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        name = str(args[0])
        with spans.store_span("redis", name):
            connection: Any = self.connection_pool.get_connection()
            try:
                connection.send_command(*args)
                return self.parse_response(connection, args[0], **options)  # type: ignore[no-untyped-call]
            finally:
                self.connection_pool.release(connection)


class _CacheEncoder(DjangoJSONEncoder):
    def default(self, o: Any) -> Any:
        if dataclasses.is_dataclass(o) and not isinstance(o, type):
            return dataclasses.asdict(o)
        return super().default(o)


class CacheSerializer(JSONSerializer):  # type: ignore[misc]
    """The cache's values, as JSON: unpickling data from Redis could run code. Data classes come back as dicts."""

    encoder_class = _CacheEncoder


class GuardedConnectionFactory(ConnectionFactory):  # type: ignore[misc]
    """django-redis' factory, with guarded connections that never retry by themselves."""

    def get_connection_pool(self, params: dict[str, Any]) -> Any:
        scheme = params["url"].partition("://")[0]
        guarded = {"connection_class": _GUARDED[scheme], "retry": Retry(NoBackoff(), 0)}
        return super().get_connection_pool({**params, **guarded})


def redis_client() -> redis.Redis:
    """The client of this process. Its calls raise RedisError within half a second (by default) when Redis is gone."""
    return _client_of(settings.REDIS_URL)


@functools.cache
def _client_of(_url: str) -> redis.Redis:
    client: redis.Redis = get_redis_connection("default")
    return client


def _sample_pool() -> None:
    pool: Any = redis_client().connection_pool
    free = list(pool.pool.queue)  # None for a connection that was never opened
    catalog.pool_in_use.labels("redis").set(pool.max_connections - len(free))
    catalog.pool_idle.labels("redis").set(sum(each is not None for each in free))
    catalog.pool_waiting.labels("redis").set(pool.waiting)
    catalog.pool_limit.labels("redis").set(pool.max_connections)


sampling.register(_sample_pool)


def is_foreign(error: RedisError) -> bool:
    """Whether Redis refused a command because the key holds a foreign type, which another program wrote."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def is_full(error: RedisError) -> bool:
    """Whether a stream accepts no more entries, because another program added an entry with the highest possible id."""
    text = str(error)
    return isinstance(error, ResponseError) and ("equal or smaller" in text or "last possible ID" in text)


def drop_foreign(kind: str, *keys: str) -> None:
    """Delete those of EdgeChat's keys that hold another type than their own ("none": any type).

    Never raises: it only cleans up.
    """
    try:
        for key in keys:
            if redis_client().eval(_DROP_FOREIGN, 1, key, kind):
                logger.error("foreign_redis_key_deleted", key=key)
    except RedisError as error:
        logger.warning("foreign_redis_key_left", reason=type(error).__name__)


def is_ahead(entry_id: bytes) -> bool:
    """Whether a stream's entry has an id of more than a day in the future.

    Another program gave it that id. No entry that is added or read later would come after it.
    """
    return int(entry_id.partition(b"-")[0]) > (time.time() + 86400) * 1000


def blocking_redis_client() -> redis.Redis:
    """A client with one connection of its own, for the one thread of a process that waits in blocking reads."""
    global _blocking_client
    if _blocking_client is None:
        _blocking_client = redis.Redis.from_url(
            settings.REDIS_URL,
            max_connections=1,
            socket_connect_timeout=settings.REDIS_CONNECT_SECONDS,
            socket_timeout=max(5.0, settings.STORE_TIMEOUT_SECONDS / 3),
            retry=Retry(NoBackoff(), 0),
        )
    return _blocking_client


_blocking_client: redis.Redis | None = None
