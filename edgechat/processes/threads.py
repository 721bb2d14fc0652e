"""Work beside a request, written for the standard library's threads; under gunicorn they are greenlets."""

from __future__ import annotations

import contextvars
import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import gevent
import gevent.monkey
import structlog
from django.db import connections

from edgechat.errors import StoreUnavailable
from edgechat.stores import store_time

logger = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# What ends a thread and is no fault of it.
EXITS = (SystemExit, KeyboardInterrupt, GeneratorExit, gevent.GreenletExit)

# Hashing and decoding at once in one process. A process has one core or so: more would only take memory, and turns from
# the streams.
_cpu_slots = threading.BoundedSemaphore(2)


# How many requests and replies of one process work at once; the others wait for their turn, in order. Without it a
# thousand at once would each wait inside their work, for connections that others hold while they wait for the
# processor, and run into the stores' time limits together.
_work_slots = threading.BoundedSemaphore(24)
_working = threading.local()


def begin_work(*, patience: float | None) -> None:
    """Wait until it is this thread's turn to work; does nothing if it has begun. Only for this package: others wait in
    `waiting()`, and work in a request, or in `working()`.

    From then on its waits for stores are bounded (`edgechat.stores.store_time`). Raises StoreUnavailable where the turn
    does not come within `patience` seconds. None is for what would be lost without a turn: what the model was paid for,
    a file that is stored. It does come, for who has a turn waits for nothing but stores, and for these in bounded time.
    """
    store_time.owe_turn(None)
    if not getattr(_working, "now", False):
        if not _work_slots.acquire(timeout=patience):
            logger.warning("no_turn", seconds=patience)
            raise StoreUnavailable
        _working.now = True
        store_time.begin()


def end_work() -> None:
    """Let another thread work. Only for this package."""
    store_time.owe_turn(None)
    if getattr(_working, "now", False):
        _working.now = False
        store_time.end()
        _work_slots.release()


def release_database() -> None:
    """Give this thread's database connection back to the pool; the next query takes one again. Only for this package.

    Raises RuntimeError in a transaction.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            raise RuntimeError("A transaction must not wait for anything but its database")
        connection.close()


def in_transaction() -> bool:
    return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))


@contextmanager
def waiting(*, patience: float | None = None) -> Iterator[None]:
    """Around every wait that is no store's: for the model, a reply, a client, a computation, a page, another thread.

    Within it this thread has no database connection, and no turn to work: a request that kept them through a call to
    the model would let ten conversations block all others. If it had a turn it waits for one again, `patience` seconds
    at most, before it next asks a store; who asks none any more needs none. Raises RuntimeError in a transaction.
    """
    had_turn = getattr(_working, "now", False) or store_time.is_turn_owed()
    release_database()
    end_work()
    try:
        yield
    finally:
        if had_turn:
            store_time.owe_turn(functools.partial(begin_work, patience=patience))


@contextmanager
def working() -> Iterator[None]:
    """Around work with stores in a detached thread: in turn with the requests, however long that takes to come."""
    had_turn = getattr(_working, "now", False)
    begin_work(patience=None)
    try:
        yield
    finally:
        if not had_turn:
            end_work()


def start_thread(function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> threading.Thread:
    """Run a function detached from the request that starts it.

    It keeps the request's log context, gives back its database connection at the end, and its faults are logged.
    """
    context = contextvars.copy_context()

    def run() -> None:
        try:
            context.run(function, *args, **kwargs)
        except EXITS:
            raise
        except BaseException:  # gevent's Timeout, for one, is no Exception
            context.run(logger.exception, "thread_failed", function=getattr(function, "__qualname__", repr(function)))
        finally:
            release_database()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


class Pauses:
    """For what computes in many small steps: `pause()` after each lets others have their turn every few milliseconds.

    Under gevent nothing else runs meanwhile, and reading a socket that always has more is no wait.
    """

    _SECONDS = 0.005

    def __init__(self) -> None:
        self._last = time.monotonic()

    def pause(self) -> None:
        if time.monotonic() - self._last > self._SECONDS:
            pause()
            self._last = time.monotonic()


def pause() -> None:
    """Let others have their turn."""
    time.sleep(0.0001)  # of 0 gevent makes no turn of its loop, in which sockets are looked at


def run_cpu_bound(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a function that computes for long, without stalling the process's other requests.

    Under gevent it runs in the hub's pool of real threads, a few at a time; elsewhere threads are real already. This
    thread is `waiting()` meanwhile.
    `function` must release the GIL for most of its time and touch neither stores nor thread-locals.
    """
    if not gevent.monkey.is_module_patched("threading"):
        with waiting():
            return function(*args, **kwargs)
    with waiting(), _cpu_slots:
        result: Any = gevent.get_hub().threadpool.apply(functools.partial(function, *args, **kwargs))
        return result  # type: ignore[no-any-return]
