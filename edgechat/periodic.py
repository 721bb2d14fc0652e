"""What every web process does by itself, over and over, until it ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from edgechat.errors import StoreUnavailable
from edgechat.threads import release_database, start_thread

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class PeriodicTask:
    function: Callable[[], object]
    seconds: float


_tasks: list[PeriodicTask] = []
_started = threading.Event()
_stopping = threading.Event()


def register(function: Callable[[], object], *, seconds: float) -> None:
    """Have each web process call `function` about every so many seconds. To be called in AppConfig.ready."""
    _tasks.append(PeriodicTask(function, seconds))


def start() -> None:
    """Start one thread for each task; called once in a worker, after the fork."""
    _started.set()
    for task in _tasks:
        start_thread(_repeat, task)


def is_started() -> bool:
    """Whether this process does these things: it serves, and is no command."""
    return _started.is_set()


def stop() -> None:
    """Let no task begin another round."""
    _stopping.set()


def _repeat(task: PeriodicTask) -> None:
    name = f"{task.function.__module__}.{task.function.__qualname__}"
    # Spread over the interval, so that the processes of a deployment do not all ask at the same instant.
    while not _stopping.wait(task.seconds * random.uniform(0.8, 1.2)):  # noqa: S311  # nosec B311 # no secret
        try:
            task.function()
        except StoreUnavailable as error:
            logger.warning("periodic_task_deferred", task=name, reason=error.code)
        except Exception:
            logger.exception("periodic_task_failed", task=name)
        finally:
            release_database()
