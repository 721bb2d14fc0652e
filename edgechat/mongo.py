"""MongoDB: lazy clients, short waits, and driver errors as one exception of ours."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any, ParamSpec, TypeVar, cast

import pymongo.errors
import structlog
from bson.codec_options import CodecOptions
from django.conf import settings
from pymongo import MongoClient
from pymongo.database import Database

from edgechat.errors import StoreUnavailable

logger = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Document = dict[str, Any]

_lock = threading.Lock()
_clients: dict[bool, MongoClient[Document]] = {}
# Connections of a process; the urgent ones are never queued for behind requests.
_POOL_SIZE, _URGENT_POOL_SIZE = 32, 2


class MongoUnavailable(StoreUnavailable):
    """MongoDB did not answer, or not in time; what was asked for may or may not have happened."""


def database(*, urgent: bool = False) -> Database[Document]:
    """The transcript database. The client is made on first use, which is after gunicorn's fork.

    `urgent` is for what must not wait while a thousand requests use all connections: a lease renewed late is a reply
    written twice.
    """
    if urgent not in _clients:
        with _lock:
            if urgent not in _clients:
                _clients[urgent] = _new_client(_URGENT_POOL_SIZE if urgent else _POOL_SIZE)
    codec: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)
    return _clients[urgent].get_database(settings.MONGODB_DB, codec_options=codec)


def _new_client(pool_size: int) -> MongoClient[Document]:
    return MongoClient(
        settings.MONGODB_URL,
        serverSelectionTimeoutMS=2000,
        connectTimeoutMS=1000,
        socketTimeoutMS=10_000,
        waitQueueTimeoutMS=20_000,
        maxPoolSize=pool_size,
        appname="edgechat",
    )


def mongo_errors(function: Callable[P, T]) -> Callable[P, T]:
    """Turn the driver's errors into MongoUnavailable, a generator's too.

    A duplicate key is an answer and passes as it is.
    """

    @contextmanager
    def turned() -> Iterator[None]:
        try:
            yield
        except pymongo.errors.DuplicateKeyError:
            raise
        except pymongo.errors.PyMongoError as error:
            logger.error("mongo_unavailable", operation=function.__name__, exc_info=error)
            raise MongoUnavailable from error

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with turned():
            return function(*args, **kwargs)

    @functools.wraps(function)
    def wrapped_generator(*args: P.args, **kwargs: P.kwargs) -> Any:
        with turned():
            yield from cast(Iterator[Any], function(*args, **kwargs))

    return wrapped_generator if inspect.isgeneratorfunction(function) else wrapped
