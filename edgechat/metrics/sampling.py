"""Gauges that are read from the state of a process: every few seconds, because a scrape reaches only one process."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from edgechat import __version__
from edgechat.metrics import catalog

logger = structlog.get_logger(__name__)

SAMPLE_SECONDS, STORES_SECONDS = 5.0, 15.0
_readers: list[Callable[[], object]] = []
_store_readers: list[Callable[[], object]] = []


def register(read: Callable[[], object]) -> None:
    """Have each web process call `read` every SAMPLE_SECONDS; it sets gauges and never waits."""
    _readers.append(read)


def register_backlog(read: Callable[[], object]) -> None:
    """Have each web process call `read` every STORES_SECONDS; it sets gauges from a store, by a quick query.

    The gauge is the same in all processes: its mode is `livemostrecent`.
    """
    _store_readers.append(read)


def sample() -> None:
    """Set the gauges of this process."""
    catalog.processes.set(1)
    catalog.build_info.labels(__version__).set(1)
    for read in _readers:
        try:
            read()
        except Exception:  # the other gauges are set nevertheless
            logger.exception("metrics_not_sampled", reader=f"{read.__module__}.{read.__qualname__}")


def sample_stores() -> None:
    """Set the gauges that are read from stores. Raises the error of one that failed, after all were tried."""
    failure: Exception | None = None
    for read in _store_readers:
        try:
            read()
        except Exception as error:
            failure = error
    if failure is not None:
        raise failure
