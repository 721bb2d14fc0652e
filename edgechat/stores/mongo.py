"""MongoDB: lazy clients, short waits, and driver errors as the project's own exceptions."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any, ParamSpec, TypeVar, cast

import pymongo
import pymongo.errors
import structlog
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from django.conf import settings
from pymongo import MongoClient
from pymongo.database import Database

from edgechat.errors import StoreUnavailable
from edgechat.metrics import catalog, sampling
from edgechat.processes.threads import in_transaction, release_database
from edgechat.stores import store_time
from edgechat.stores.breaker import Breaker
from edgechat.telemetry import spans

logger = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Document = dict[str, Any]

# One operation's share of a request's limit for store waits.
OPERATION_SHARE = 2 / 3
# A server that has not answered for this long counts as gone.
SILENT_SECONDS = 1.0

_lock = threading.Lock()
_in_operation = threading.local()
_breaker = Breaker("mongo")
_END = object()
_client: MongoClient[Document] | None = None
# Connections of a process.
_POOL_SIZE = 32


class MongoUnavailable(StoreUnavailable):
    """MongoDB did not answer, or not in time. The operation may or may not have happened."""


class MongoRefused(MongoUnavailable):
    """MongoDB refuses this operation because of its content, and will refuse it again. None of it happened."""

    def __init__(self, reason: str = "") -> None:
        super().__init__()
        self.reason = reason


# Codes of temporary refusals: the server shuts down, elects, is overloaded or full, lacks a permission or time at the
# moment, or aborted an operation. https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
_PASSING_CODES = frozenset(
    {1, 6, 7, 8, 11, 13, 18, 24, 43, 46, 50, 63, 64, 89, 91, 96, 100, 107, 112, 117, 125, 133, 134, 136, 146, 148, 150}
    | {175, 189, 202, 211, 215, 216, 225, 228, 234, 237, 249, 251, 262, 264, 279, 290, 314, 317, 325, 333, 358, 365}
    | {371, 391, 412, 462, 8000, 9001, 10003, 10058, 10107, 11000, 11600, 11601, 11602, 13388, 13435, 13436, 14031}
)


def _refusal(error: Exception) -> str | None:
    """Why MongoDB, or the driver, will never accept this write; None for a temporary failure."""
    match error:
        case pymongo.errors.BulkWriteError():
            codes = [each.get("code") for each in (error.details or {}).get("writeErrors", [])]
        case pymongo.errors.WriteConcernError() | pymongo.errors.ExecutionTimeout():
            return None
        case pymongo.errors.OperationFailure():
            codes = [error.code]
        case pymongo.errors.PyMongoError():
            return None
        case _:
            return type(error).__name__
    if isinstance(error, pymongo.errors.PyMongoError) and (
        error.has_error_label("RetryableWriteError") or error.has_error_label("TransientTransactionError")
    ):
        return None
    final = [code for code in codes if code is not None and code not in _PASSING_CODES]
    return f"{type(error).__name__} {final[0]}" if final else None


def database() -> Database[Document]:
    """The transcript database. The client is created on first use, which is after gunicorn's fork."""
    global _client
    if _client is None:
        with _lock:  # two first users share one client
            if _client is None:
                _client = _new_client()
    codec: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)
    return _client.get_database(settings.MONGODB_DB, codec_options=codec)


def _new_client() -> MongoClient[Document]:
    return MongoClient(
        settings.MONGODB_URL,
        serverSelectionTimeoutMS=1500,
        connectTimeoutMS=1000,
        # For operations outside `mongo_errors`.
        socketTimeoutMS=10_000,
        waitQueueTimeoutMS=10_000,
        maxPoolSize=_POOL_SIZE,
        appname="edgechat",
    )


def _sample_pool() -> None:
    if _client is None:
        return
    # The driver publishes these counts only as events, one for each use of a connection.
    pools = [server.pool for server in _client._topology._servers.values()]
    catalog.pool_in_use.labels("mongo").set(sum(pool.active_sockets for pool in pools))
    catalog.pool_idle.labels("mongo").set(sum(len(pool.conns) for pool in pools))
    catalog.pool_waiting.labels("mongo").set(sum(max(0, pool.operation_count - pool.active_sockets) for pool in pools))
    catalog.pool_limit.labels("mongo").set(_POOL_SIZE)


sampling.register(_sample_pool)


def mongo_errors(function: Callable[P, T]) -> Callable[P, T]:
    """Bound the driver's waits (`edgechat.stores.store_time`), and translate its errors.

    The errors become MongoUnavailable or MongoRefused. The decorated function may be a generator. A duplicate key is a
    result and passes unchanged.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with _bounded(function.__name__):
            return function(*args, **kwargs)

    @functools.wraps(function)
    def wrapped_generator(*args: P.args, **kwargs: P.kwargs) -> Any:
        items = cast(Iterator[Any], function(*args, **kwargs))
        while True:
            # Only around the step of the generator, not around the caller's use of an item.
            with _bounded(function.__name__):
                item = next(items, _END)
            if item is _END:
                return
            yield item

    return wrapped_generator if inspect.isgeneratorfunction(function) else wrapped


@contextmanager
def _bounded(operation: str) -> Iterator[None]:
    if getattr(_in_operation, "now", False):
        yield  # an outer block already bounds this
        return
    if not _breaker.allows():
        raise MongoUnavailable
    if not in_transaction():
        # A thread that waits for MongoDB must not hold a PostgreSQL connection.
        release_database()
    _in_operation.now = True
    began = time.monotonic()
    try:
        with (
            spans.store_span("mongodb", operation),
            store_time.waiting() as seconds,
            pymongo.timeout(_longest(seconds)),
        ):
            yield
    except pymongo.errors.DuplicateKeyError:
        _breaker.reset()
        raise
    except (pymongo.errors.PyMongoError, BSONError, OverflowError, UnicodeEncodeError) as error:
        reason = _refusal(error)
        if reason is not None:
            # Without the error's text, which quotes the document.
            logger.error("mongo_refused", operation=operation, reason=reason)
            raise MongoRefused(reason) from error
        if _is_gone(error, seconds=time.monotonic() - began):
            _breaker.trip()
        # A hundred tracebacks at the same time would slow the requests that do not need MongoDB.
        logger.error("mongo_unavailable", operation=operation, reason=repr(error)[:500])
        raise MongoUnavailable from error
    else:
        _breaker.reset()
    finally:
        _in_operation.now = False


def _longest(seconds: float) -> float:
    """How long an operation may take; never 0, which pymongo treats as no bound."""
    allowance, request = store_time.allowance(), store_time.request_seconds()
    if seconds > request + allowance:
        return seconds
    return max(0.001, min(seconds, request * OPERATION_SHARE + allowance))


def _is_gone(error: Exception, *, seconds: float) -> bool:
    """Whether an operation of this duration failed because MongoDB is gone, and not because it is slow."""
    if isinstance(error, (pymongo.errors.NetworkTimeout, pymongo.errors.ServerSelectionTimeoutError)):
        return seconds > SILENT_SECONDS + store_time.allowance()
    return isinstance(error, pymongo.errors.AutoReconnect)


@mongo_errors
def ping() -> None:
    """Raises MongoUnavailable."""
    database().command("ping")
