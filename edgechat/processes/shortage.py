"""A process that gets no memory, no more open files or no space on its disk from the system.

A request that gets none is answered 503. A thread that cannot even start leaves those waiting that need it, so then the
process ends, and gunicorn starts another one.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Any

import gevent.hub
import structlog

logger = structlog.get_logger(__name__)

_MAX_CAUSES = 10
_RESOURCES = {
    errno.ENOMEM: "memory",
    errno.EMFILE: "files",
    errno.ENFILE: "files",
    errno.ENOSPC: "disk",
    errno.EDQUOT: "disk",
    errno.EROFS: "disk",
}


def missing_resource(error: BaseException | None) -> str | None:
    """What this machine lacked, if the exception or one of its causes says so: `memory`, `files` or `disk`."""
    for _ in range(_MAX_CAUSES):
        match error:
            case None:
                return None
            case MemoryError() | RuntimeError(args=("can't start new thread",)):
                return "memory"
            case OSError(errno=int(number)) if number in _RESOURCES:
                return _RESOURCES[number]
        error = error.__cause__ or error.__context__
    return None


def end_if_threads_cannot_start() -> None:
    """End this process when a MemoryError reaches gevent's hub, which is the end of a thread that did not start."""
    hub = gevent.hub.get_hub()
    log_error = hub.handle_error

    def handle_error(context: Any, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, MemoryError):
            with suppress(MemoryError):
                logger.error("ended_without_memory")
            os._exit(1)
        log_error(context, kind, error, trace)

    hub.handle_error = handle_error
