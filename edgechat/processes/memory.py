"""A process that gets no memory from the system.

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


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether the exception, or one of its causes, says that there was no memory, or no thread to be had."""
    for _ in range(_MAX_CAUSES):
        match error:
            case None:
                return False
            case MemoryError() | OSError(errno=errno.ENOMEM):
                return True
            case RuntimeError(args=("can't start new thread",)):
                return True
        error = error.__cause__ or error.__context__
    return False


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
