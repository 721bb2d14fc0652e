"""Deletes what is no longer needed, once a day at PRUNE_AT: one process at a time, in small batches.

Each app registers its jobs. The process that prunes is named in one row; if it dies, another one starts again, which
finds what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from edgechat.errors import StoreUnavailable
from edgechat.processes.threads import is_busy, waiting
from usage import processes
from usage.models import Process, Pruning

logger = structlog.get_logger(__name__)

LOOK_SECONDS = 10
# Of one round, which the watch over periodic tasks must not take for one that hangs.
ROUND_SECONDS = 10.0
# Between two batches: the rest of the time is for requests.
PAUSE_SECONDS = 0.05
RETRY_SECONDS = 300.0

Job = Callable[[], Iterator[int]]
_jobs: list[tuple[str, Job]] = []
_steps: Iterator[int] | None = None
_not_before = 0.0


def register_job(name: str, job: Job) -> None:
    """Have `job()` run once a day. It deletes a small batch, or looks at one, for each number that it yields.

    It must be repeatable: it may be ended between two batches, and started again by another process.
    """
    _jobs.append((name, job))


def prune_when_due() -> None:
    """Prune for some seconds if it is due and no other process does. Called every LOOK_SECONDS."""
    global _steps, _not_before
    if settings.PRUNE_AT is None or is_busy() or time.monotonic() < _not_before:
        return
    me = processes.this_process()
    if _steps is None:
        if not _claim(me, settings.PRUNE_AT):
            return
        _steps = _prune()
    elif not Pruning.objects.filter(holder=me).exists():
        _steps = None  # this process was slow, and another one has begun again
        return
    until = time.monotonic() + ROUND_SECONDS
    try:
        for _ in _steps:
            if time.monotonic() > until:
                return
            with waiting():
                time.sleep(PAUSE_SECONDS)
    except (StoreUnavailable, OperationalError, InterfaceError):
        _steps, _not_before = None, time.monotonic() + RETRY_SECONDS
        raise
    _steps = None
    Pruning.objects.filter(holder=me).update(holder="", finished_at=timezone.now())


def last_due(at: str, now: datetime) -> datetime:
    """The latest moment with the time of day `at` (UTC, such as 03:30) that is not after `now`."""
    hour, _, minute = at.partition(":")
    due = now.astimezone(UTC).replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    return due if due <= now else due - timedelta(days=1)


def _claim(me: str, at: str) -> bool:
    """Whether this process is the one that prunes now, by compare-and-set. A new deployment begins at the next time."""
    now = timezone.now()
    Pruning.objects.get_or_create(pk=1, defaults={"finished_at": now})
    living = Process.objects.filter(name=OuterRef("holder"), dead=False, leaving=False)
    free = Q(holder__in=("", me)) | ~Exists(living)
    return bool(Pruning.objects.filter(free, finished_at__lt=last_due(at, now)).update(holder=me))


def _prune() -> Iterator[int]:
    for name, job in _jobs:
        count = 0
        try:
            for deleted in job():
                count += deleted
                yield deleted
        except (StoreUnavailable, OperationalError, InterfaceError):
            raise
        except Exception:  # a fault of this job; the others are done all the same
            logger.exception("pruning_failed", job=name)
        logger.info("pruned", job=name, deleted=count)
