"""How long stores may keep one request waiting, all its waits together.

Only the waits for PostgreSQL and MongoDB count, and not what the process itself takes its time for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings

# Of a request whose turn was long in coming.
LEAST_SECONDS = 0.75
# Who has less than this left is not the one to try whether a store that was gone is back, in vain perhaps.
TRY_SECONDS = 1.5
# Of one statement or operation, where nobody waits for the answer.
BACKGROUND_SECONDS = 10.0

_here = threading.local()


def request_seconds() -> float:
    """Of a request, from its first turn to work until it has its answer or waits for something else."""
    return float(settings.STORE_TIMEOUT_SECONDS) * 2 / 3


def patience_seconds() -> float:
    """How long a request waits for a turn to work."""
    return max(float(settings.STORE_TIMEOUT_SECONDS) - 0.5, LEAST_SECONDS)


def begin_request(*, waited: float) -> None:
    """This thread's turns share what a request may wait; it had to wait so long for its first one."""
    left = float(settings.STORE_TIMEOUT_SECONDS) - waited
    _here.kept = _here.left = min(request_seconds(), max(left, LEAST_SECONDS))


def end_request() -> None:
    _here.kept = _here.left = None


def begin() -> None:
    """A turn to work begins: from now on this thread's waits are bounded together."""
    kept: float | None = getattr(_here, "kept", None)
    _here.left = request_seconds() if kept is None else kept


def end() -> None:
    """The turn is over, and each wait is bounded by itself again."""
    if getattr(_here, "kept", None) is not None:
        _here.kept = getattr(_here, "left", None) or 0.0
    _here.left = None


def owe_turn(take: Callable[[], None] | None) -> None:
    """Have this thread `take` a turn to work before its next wait for a store; None: it has one, or needs none."""
    _here.take_turn = take


def is_turn_owed() -> bool:
    return getattr(_here, "take_turn", None) is not None


@contextmanager
def waiting() -> Iterator[float]:
    """Around one wait for a store: gives how long it may take, perhaps 0. Raises StoreUnavailable without a turn."""
    take_turn: Callable[[], None] | None = getattr(_here, "take_turn", None)
    if take_turn is not None:
        take_turn()
    left: float | None = getattr(_here, "left", None)
    began = time.monotonic()
    try:
        yield BACKGROUND_SECONDS if left is None else left
    finally:
        if left is not None and getattr(_here, "left", None) is not None:
            _here.left = max(0.0, left - (time.monotonic() - began))


def may_try() -> bool:
    """Whether this thread has the time to wait for a store in vain."""
    left: float | None = getattr(_here, "left", None)
    return left is None or left >= TRY_SECONDS


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """The stores' waits in this block take so long at most, in all, and no longer than they might without it."""
    before: float | None = getattr(_here, "left", None)
    allowed = seconds if before is None else min(seconds, before)
    _here.left = allowed
    try:
        yield
    finally:
        left: float | None = getattr(_here, "left", None)
        spent = 0.0 if left is None else allowed - left
        _here.left = None if before is None else before - spent


@contextmanager
def at_least(seconds: float) -> Iterator[None]:
    """The stores' waits in this block may take so long, whatever the request has used up before: for what has to be
    undone.
    """
    before: float | None = getattr(_here, "left", None)
    if before is not None:
        _here.left = max(seconds, before)
    try:
        yield
    finally:
        if before is not None:
            _here.left = min(before, getattr(_here, "left", None) or 0.0)
