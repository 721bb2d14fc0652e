"""The limits for the waits of one request for stores, all of them together.

Its waits for PostgreSQL and MongoDB have a share of the request's time. This counts only waits, not the process's own
work: a process that is short of CPU time notices an answer late, and that is no fault of the store. In addition, no
wait goes on after the request's deadline; only a request that its process made late has a little more time. The
deadline moves while the request waits for a model, a reply or its client, because these waits are no faults.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings

# The least time for a request whose turn came late, or whose deadline has passed.
LEAST_SECONDS = 0.75
# Of STORE_TIMEOUT_SECONDS, for the work after the last wait.
REST_SECONDS = 0.5
# A thread with less time than this left does not test whether a failed store is back: the test might take longer.
TRY_SECONDS = 1.5
# A store that let a thread wait for this long is not prompt.
SLOW_SECONDS = 1.0
# How long a measured lateness of this process counts.
LATE_FOR_SECONDS = 2.0
# How long a slow wait counts as a sign of a slow store.
RECENT_SECONDS = 5.0
# For one statement or operation outside a request, where no client waits for the answer.
BACKGROUND_SECONDS = 10.0

# A wait passes through the process's event loop a few times, and each pass can be late.
PASSES = 4
MAX_ALLOWANCE_SECONDS = 2.0

_here = threading.local()
_slow_at = float("-inf")
_late_at, _late_by = float("-inf"), 0.0


def note_lateness(seconds: float) -> None:
    """Record by how much this process missed the time when something was due. Called once a second or more often."""
    global _late_at, _late_by
    if seconds >= _late_by or time.monotonic() - _late_at > LATE_FOR_SECONDS:
        _late_at, _late_by = time.monotonic(), seconds


def allowance() -> float:
    """The part of one wait, in seconds, that is this process's own lateness."""
    return min(PASSES * _late_by, MAX_ALLOWANCE_SECONDS)


def is_prompt() -> bool:
    """Whether no wait of this process for a store took long in the last seconds."""
    return time.monotonic() - _slow_at > RECENT_SECONDS


def request_seconds() -> float:
    """The time of a request, from its first turn to work until it has its answer or waits for something else."""
    return float(settings.STORE_TIMEOUT_SECONDS) * 2 / 3


def answer_seconds() -> float:
    """The time from a request's arrival to its deadline."""
    return max(float(settings.STORE_TIMEOUT_SECONDS) - REST_SECONDS, LEAST_SECONDS)


def patience_seconds() -> float:
    """How long a request waits for its first turn to work."""
    return max(answer_seconds() - LEAST_SECONDS, LEAST_SECONDS)


def begin_request(*, waited: float) -> None:
    """Make this thread's turns share the time of a request, whose first turn came after `waited` seconds."""
    # A queue before stores that answer promptly is no fault.
    answer = answer_seconds() if is_prompt() else answer_seconds() - waited
    left = request_seconds() if is_prompt() else float(settings.STORE_TIMEOUT_SECONDS) - waited
    _here.kept = _here.left = min(request_seconds(), max(left, LEAST_SECONDS))
    _here.deadline = time.monotonic() + max(answer, LEAST_SECONDS)


def end_request() -> None:
    _here.kept = _here.left = _here.deadline = None


def deadline() -> float | None:
    """The monotonic time of this request's deadline; None outside requests."""
    found: float | None = getattr(_here, "deadline", None)
    return found


def share_deadline(of_request: float | None) -> None:
    """Make this the deadline of this thread, which works for the request; None for no deadline."""
    _here.deadline = of_request


def move_deadline(seconds: float) -> None:
    """Leave a wait that is no fault out of the request's time."""
    until = deadline()
    if until is not None:
        _here.deadline = until + seconds


def is_over() -> bool:
    """Whether this request's deadline has passed."""
    until = deadline()
    return until is not None and time.monotonic() > until


def seconds_left() -> float | None:
    """The time until the deadline, LEAST_SECONDS or more; None outside requests."""
    until = deadline()
    return None if until is None else max(until - time.monotonic(), LEAST_SECONDS)


def begin(*, waited: float = 0.0) -> None:
    """Start the limit of a turn to work, which came after `waited` seconds: this thread's waits for stores share it."""
    kept: float | None = getattr(_here, "kept", None)
    _here.left = request_seconds() if kept is None else kept
    if is_prompt():
        move_deadline(waited)


def end() -> None:
    """End the shared limit of a turn: each wait has its own limit again."""
    if getattr(_here, "kept", None) is not None:
        _here.kept = getattr(_here, "left", None) or 0.0
    _here.left = None


def owe_turn(take: Callable[[], None] | None) -> None:
    """Have this thread `take` a turn to work before its next wait for a store. None: it has a turn, or needs none."""
    _here.take_turn = take


def is_turn_owed() -> bool:
    return getattr(_here, "take_turn", None) is not None


@contextmanager
def waiting() -> Iterator[float]:
    """Wrap one wait for a store. Yields how long it may take, possibly 0. Raises StoreUnavailable without a turn."""
    global _slow_at
    take_turn: Callable[[], None] | None = getattr(_here, "take_turn", None)
    if take_turn is not None:
        take_turn()
    left: float | None = getattr(_here, "left", None)
    until = seconds_left()
    if left is not None and until is not None and not is_prompt():
        left = min(left, until)
    began = time.monotonic()
    try:
        yield BACKGROUND_SECONDS if left is None else _longest(left, until)
    finally:
        waited = time.monotonic() - began - allowance()
        if waited > SLOW_SECONDS:
            _slow_at = time.monotonic()
        if left is not None and getattr(_here, "left", None) is not None:
            _here.left = max(0.0, left - max(0.0, waited))


def _longest(left: float, until: float | None) -> float:
    """How long a wait may take. This process's lateness does not count, but it does not move the deadline either."""
    longest = left and left + allowance()
    return longest if until is None else min(longest, max(until, SLOW_SECONDS + allowance()))


def may_try() -> bool:
    """Whether this thread has the time to wait for a store that does not answer."""
    left: float | None = getattr(_here, "left", None)
    return left is None or left >= TRY_SECONDS


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Limit the store waits of this block to `seconds` in total, and never beyond the limit outside it."""
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
    """Allow the store waits of this block `seconds`, whatever the request has used before.

    For changes that must be undone.
    """
    before: float | None = getattr(_here, "left", None)
    until = deadline()
    if before is not None:
        _here.left = max(seconds, before)
    if until is not None:
        _here.deadline = max(until, time.monotonic() + seconds)
    try:
        yield
    finally:
        if before is not None:
            _here.left = min(before, getattr(_here, "left", None) or 0.0)
        _here.deadline = until
