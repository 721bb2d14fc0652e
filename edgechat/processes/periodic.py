"""The periodic tasks of every web process, which run until it ends.

Each task has a thread that calls it round by round. No exception in a round ends the thread. One more thread checks all
tasks, and the tasks check that thread. A task whose thread ended or whose round hangs is started again, and
`/health/ready` reports it until it is well.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypedDict

import structlog
from django.db import InterfaceError, OperationalError

from edgechat.errors import StoreUnavailable
from edgechat.metrics import catalog, sampling
from edgechat.processes.threads import EXITS, release_database, start_thread
from edgechat.stores import store_time

logger = structlog.get_logger(__name__)

# A round that takes longer hangs: every wait for a store ends earlier.
HANG_SECONDS = 120.0
LOOK_SECONDS = 1.0
# The pause after a failed round, for tasks that have no pause between rounds.
RETRY_SECONDS = 1.0


class TaskState(TypedDict):
    """`every`: the seconds between two rounds; `age`: the seconds since the last one that succeeded, or the start."""

    name: str
    every: float
    age: float
    is_well: bool


class PeriodicTask:
    """A function that is called about every `seconds` seconds; with 0 immediately again, and it must wait itself."""

    def __init__(self, function: Callable[[], object], seconds: float) -> None:
        self.function = function
        self.seconds = seconds
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._thread: threading.Thread | None = None
        self._starts = 0
        self._round_began: float | None = None
        self._done_at = time.monotonic()
        self._ended_at: float | None = None

    def start(self) -> None:
        self._round_began = None
        self._done_at = time.monotonic()
        self._starts += 1
        self._thread = start_thread(self._repeat, self._starts)

    def fault(self) -> str | None:
        """Why the task makes no rounds: `ended`, `hangs`, or None."""
        if self._thread is None or not self._thread.is_alive():
            return "ended"
        began = self._round_began
        return "hangs" if began is not None and time.monotonic() - began > HANG_SECONDS else None

    def is_well(self) -> bool:
        """Whether the task runs, and has not ended within the last seconds."""
        just_ended = self._ended_at is not None and time.monotonic() - self._ended_at < 5 * LOOK_SECONDS
        return not just_ended and self.fault() is None

    def state(self) -> TaskState:
        age = round(time.monotonic() - self._done_at, 1)
        return TaskState(name=self.name, every=self.seconds, age=age, is_well=self.is_well())

    def restart_if_needed(self) -> None:
        """Start the task again if it does not run. The thread of a round that hangs ends with that round."""
        if _stopping.is_set():  # the process ends, and its threads with it
            return
        if (fault := self.fault()) is not None:
            logger.error("periodic_task_restarted", task=self.name, fault=fault)
            catalog.task_restarts.labels(self.name).inc()
            self._ended_at = time.monotonic()
            self.start()

    def _repeat(self, start: int) -> None:
        # Spread over the interval, so that the processes of a deployment do not all run it at the same instant.
        while not self._pause(self.seconds * random.uniform(0.8, 1.2)):  # noqa: S311  # nosec B311 # no secret
            self._round_began = time.monotonic()
            done = self._round()
            if self._starts != start:
                return  # the round took so long that another thread has replaced this one
            self._round_began = None
            if is_started() and self is not _watcher:
                _watcher.restart_if_needed()
            if done:
                self._done_at = time.monotonic()
            else:
                _stopping.wait(max(0.0, RETRY_SECONDS - self.seconds))

    @staticmethod
    def _pause(seconds: float) -> bool:
        """Wait between two rounds; whether the process stops."""
        due = time.monotonic() + seconds
        stopping = _stopping.wait(seconds)
        if seconds:
            store_time.note_lateness(time.monotonic() - due)
        return stopping

    def _round(self) -> bool:
        try:
            try:
                self.function()
            finally:
                release_database()
        except (StoreUnavailable, OperationalError, InterfaceError) as error:
            logger.warning("periodic_task_deferred", task=self.name, reason=repr(error))
            self._count("deferred")
        except EXITS:
            raise
        except BaseException:  # gevent's Timeout, for example, is no Exception
            logger.exception("periodic_task_failed", task=self.name)
            self._count("failed")
        else:
            self._count("ok")
            return True
        return False

    def _count(self, result: str) -> None:
        catalog.task_rounds.labels(self.name, result).inc()
        if result == "ok":
            catalog.task_age.labels(self.name).set(time.monotonic())


def _look_after() -> None:
    for task in _tasks:
        try:
            task.restart_if_needed()
        except Exception:  # a fault of this task; the check goes on with the others
            logger.exception("periodic_task_not_restarted", task=task.name)


_tasks: list[PeriodicTask] = []
_watcher = PeriodicTask(_look_after, LOOK_SECONDS)
_started = threading.Event()
_stopping = threading.Event()


def register(function: Callable[[], object], *, seconds: float) -> None:
    """Have each web process call `function` about every `seconds` seconds. Call this in AppConfig.ready.

    With 0 the function is called again immediately, and must wait itself.
    """
    _tasks.append(PeriodicTask(function, seconds))


def start() -> None:
    """Start one thread for each task. Called once in a worker, after the fork."""
    _started.set()
    for task in (*_tasks, _watcher):
        catalog.task_age.labels(task.name).set(time.monotonic())
        task.start()
    sampling.sample()


def is_started() -> bool:
    """Whether this process runs the tasks: web processes do, commands do not."""
    return _started.is_set()


def unwell() -> list[str]:
    """The names of tasks that do not run, or that were started again a moment ago."""
    return [task.name for task in (*_tasks, _watcher) if not task.is_well()] if is_started() else []


def _sample_tasks() -> None:
    for task in (*_tasks, _watcher):
        catalog.tasks_running.labels(task.name).set(task.is_well())
        catalog.task_interval.labels(task.name).set(task.seconds)


sampling.register(_sample_tasks)
register(sampling.sample, seconds=sampling.SAMPLE_SECONDS)
register(sampling.sample_stores, seconds=sampling.STORES_SECONDS)


def states() -> list[TaskState]:
    return [task.state() for task in (*_tasks, _watcher)]


def stop() -> None:
    """Let no task start another round."""
    _stopping.set()
