"""Calls of Django's default storage, which may be a disk or a bucket."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import structlog

from edgechat.errors import StoreUnavailable
from edgechat.processes.threads import waiting

logger = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def storage_call(function: Callable[P, T]) -> Callable[P, T]:
    """Convert the storage's errors to StoreUnavailable, except FileNotFoundError.

    An object store may take minutes, so neither a database connection nor the turn to work is held during the call.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with waiting():
                return function(*args, **kwargs)
        except FileNotFoundError:
            raise
        except Exception as error:
            logger.error("storage_unavailable", operation=function.__name__, exc_info=error)
            raise StoreUnavailable from error

    return wrapped
