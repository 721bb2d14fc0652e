"""Work beside a request, in threads of the standard library; under gunicorn these are greenlets."""

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
from edgechat.metrics import catalog, sampling
from edgechat.processes.turns import Turns
from edgechat.stores import store_time

logger = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Exceptions that end a thread and are no fault.
EXITS = (SystemExit, KeyboardInterrupt, GeneratorExit, gevent.GreenletExit)

# Concurrent hashing and decoding in one process. A process has about one core: more slots would only take memory, and
# CPU time from the streams.
_cpu_slots = threading.BoundedSemaphore(2)

# How many requests and replies of one process work at the same time; the others wait for their turn, in order. Without
# this limit a thousand requests would each wait for a connection that another request holds while that one waits for
# the CPU, and all would exceed the stores' time limits together.
_turns = Turns(24, waited=catalog.admission_wait_seconds.observe)
_working = threading.local()


def begin_work(*, patience: float | None) -> None:
    """Wait for this thread's turn to work; do nothing if the thread has a turn. Only for this package.

    Other code waits in `waiting()`, and works in a request or in `working()`.

    From then on the thread's waits for stores are bounded (`edgechat.stores.store_time`). Raises StoreUnavailable if
    the turn does not come within `patience` seconds and a store is slow; a queue before stores that answer promptly is
    no fault, and may take up to LONGEST_QUEUE_SECONDS. None waits without a limit, for work that must not be lost: an
    answer that the model was paid for, a file that is stored. The turn does come: a thread with a turn waits only for
    stores, and only for a bounded time.
    """
    store_time.owe_turn(None)
    if not getattr(_working, "now", False):
        began = time.monotonic()
        if not _turns.take(patience):
            logger.warning("no_turn", seconds=patience)
            catalog.requests_shed.labels("no_turn").inc()
            raise StoreUnavailable(limit="no_turn")
        _working.now = True
        store_time.begin(waited=time.monotonic() - began)


def end_work() -> None:
    """Let another thread work. Only for this package."""
    store_time.owe_turn(None)
    if getattr(_working, "now", False):
        _working.now = False
        store_time.end()
        _turns.give_back()


def is_working() -> bool:
    """Whether this thread has its turn to work, or takes one before its next use of a store."""
    return getattr(_working, "now", False) or store_time.is_turn_owed()


def _sample_turns() -> None:
    catalog.admission_working.set(_turns.taken)
    catalog.admission_waiting.set(_turns.awaited)


sampling.register(_sample_turns)


def is_busy() -> bool:
    """Whether threads wait for their turn to work, so that work which can come later should."""
    return _turns.are_awaited()


def turns() -> tuple[int, int]:
    """How many threads have a turn to work, and how many wait for one."""
    return _turns.taken, _turns.awaited


def release_database() -> None:
    """Return this thread's database connection to the pool; the next query takes one again. Only for this package.

    Raises RuntimeError in a transaction.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            raise RuntimeError("A transaction must not wait for anything but its database")
        connection.close()


def in_transaction() -> bool:
    return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))


@contextmanager
def waiting(*, patience: float | None = None, counted: bool = False) -> Iterator[None]:
    """Wrap every wait that is not for a store: a model, a reply, a client, a computation, a page, another thread.

    Within the block this thread has no database connection and no turn to work: if requests kept them during a call to
    the model, ten conversations would block all others. A thread that had a turn waits for a new one, `patience`
    seconds at most, before its next use of a store; a thread that uses no store again needs no turn. Within the block
    there is no deadline, and after it the request's deadline is later by the time of the wait. A wait that is `counted`
    is part of the request's own time, as is the wait for the turn after it. Raises RuntimeError in a transaction.
    """
    had_turn = is_working()
    release_database()
    end_work()
    began, deadline = time.monotonic(), store_time.deadline()
    if not counted:
        # Who waits for a reply reads a store meanwhile, long after the request's own time.
        store_time.share_deadline(None)
    try:
        yield
    finally:
        if counted:
            patience = store_time.seconds_left()
        elif deadline is not None:
            store_time.share_deadline(deadline + time.monotonic() - began)
        if had_turn:
            store_time.owe_turn(functools.partial(begin_work, patience=patience))


def give_way() -> None:
    """Let others work before this thread uses a store again, within a new limit.

    For background work, before each of many operations. The operations of one request share its limit still.
    """
    with waiting():
        pass


@contextmanager
def working(*, patience: float | None = None) -> Iterator[None]:
    """Wrap work with stores: its thread waits for a turn among the requests, without a limit if it must not be lost.

    A thread that had a turn, or is owed one after `waiting()`, keeps it. Raises StoreUnavailable after `patience`
    seconds.
    """
    had_turn = is_working()
    begin_work(patience=patience)
    try:
        yield
    finally:
        if not had_turn:
            end_work()


@contextmanager
def working_if_free() -> Iterator[bool]:
    """Wrap work in a detached thread that can be left out: yields whether there is a turn for it right now."""
    free = _turns.take_free()
    if free:
        _working.now = True
        store_time.begin()
    try:
        yield free
    finally:
        end_work()


def start_thread(function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> threading.Thread:
    """Run a function detached from the request that starts it.

    The thread keeps the request's log context, returns its database connection at the end, and logs its faults.
    """
    context = contextvars.copy_context()

    def run() -> None:
        try:
            context.run(function, *args, **kwargs)
        except EXITS:
            raise
        except BaseException:  # gevent's Timeout, for example, is no Exception
            context.run(logger.exception, "thread_failed", function=getattr(function, "__qualname__", repr(function)))
        finally:
            release_database()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


class Pauses:
    """For computations in many small steps: `pause()` after each step lets other threads run every few milliseconds.

    Under gevent nothing else runs during a computation, and reading a socket that always has more data is no wait.
    """

    _SECONDS = 0.005

    def __init__(self) -> None:
        self._last = time.monotonic()

    def pause(self) -> None:
        if time.monotonic() - self._last > self._SECONDS:
            pause()
            self._last = time.monotonic()


# A lock would not keep the order: who asks while it is handed over gets it first. More turns would make the passes of
# the loop longer, fewer would make more of them.
_pause_turns = Turns(4)


def pause() -> None:
    """Let all other threads run whose sockets or times are ready. Threads that pause go on a few at a time, in order.

    Otherwise all of them would go on in the same pass of the loop, and a store's answer, which needs a few passes to
    arrive, would wait for all of them each time.
    """
    _pause_turns.take(None)
    try:
        # With 0 gevent skips the part of its loop that checks sockets. More than this would be rounded up to 1 ms.
        time.sleep(0.000001)
    finally:
        _pause_turns.give_back()


def is_pause_awaited() -> bool:
    """Whether threads that pause wait for each other."""
    return _pause_turns.are_awaited()


def run_cpu_bound(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a long computation, without stalling the process's other requests.

    Under gevent it runs in the hub's pool of real threads, a few at a time; elsewhere threads are real already. This
    thread is `waiting()` meanwhile. `function` must release the GIL for most of its time and touch neither stores nor
    thread-locals.
    """
    if not gevent.monkey.is_module_patched("threading"):
        with waiting(counted=True):
            return function(*args, **kwargs)
    with waiting(counted=True), _cpu_slots:
        result: Any = gevent.get_hub().threadpool.apply(functools.partial(function, *args, **kwargs))
        return result  # type: ignore[no-any-return]
