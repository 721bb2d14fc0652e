"""Runs imports: one at a time in a process, and one at a time for a user.

The row names the process that runs the import. While it is alive (`usage.processes`) nobody else takes the import; when
it is dead or leaves, any other process starts the file again, and what is stored already is recognized.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import IO, Any

import structlog
from django.conf import settings
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Q
from django.utils import timezone

from accounts.open_calls.live_accounts import is_deleted
from conversations import transcript_repository as transcripts
from conversations.imports.files import delete_file, open_file
from conversations.imports.report import Tally
from conversations.imports.services import UNFINISHED, quota_left
from conversations.imports.store import Task, store_conversations
from conversations.models import Import
from conversations.replies.shutdown import is_shutting_down
from edgechat.errors import StoreUnavailable, to_api_error
from edgechat.processes.threads import start_thread, working
from usage import processes
from usage.models import Process

logger = structlog.get_logger(__name__)

RUN_SECONDS = 2.0
SAVE_SECONDS = 1.0
# Stores that are away, and processes that die, interrupt an import; together it is tried for about three hours.
MAX_ATTEMPTS = 40
MAX_PAUSE = timedelta(minutes=5)
_busy = threading.Lock()


class Interrupted(Exception):
    """Another process, or none, has the import to go on with."""


def run_next_import() -> None:
    """Start the oldest import that can run now, if this process runs none. Called every RUN_SECONDS."""
    if not settings.IMPORT_MAX_MB or is_shutting_down() or _busy.locked():
        return
    if not Import.objects.filter(status__in=UNFINISHED).exists():
        return
    release_lost_imports()
    claimed = _claim()
    if claimed is not None:
        start_thread(_run, claimed)


def release_lost_imports() -> None:
    """Queue the running imports whose process is dead or leaves again."""
    processes.judge_processes()
    alive = Process.objects.filter(dead=False, leaving=False).values("name")
    for row in Import.objects.filter(status=Import.Status.RUNNING).exclude(worker__in=alive):
        logger.warning("import_lost", import_id=str(row.id), worker=row.worker)
        if row.by_command:
            with suppress(Interrupted):  # another process has ended it
                _end(row, _stopped(row, "command"))
        else:
            _mine(row).update(status=Import.Status.QUEUED, worker="")


def begin_by_command(*, owner_id: int, source: str | None, size: int) -> Import | None:
    """A running import of this process, which has the file open; None if another import of the user is running."""
    release_lost_imports()
    try:
        with transaction.atomic():
            return Import.objects.create(
                owner_id=owner_id,
                source=source or "",
                bytes=size,
                status=Import.Status.RUNNING,
                worker=processes.this_process(),
                by_command=True,
            )
    except IntegrityError:
        return None


@contextmanager
def lease_kept() -> Iterator[None]:
    """Keep this process alive for others within the block, as web processes keep themselves."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(processes.HEARTBEAT_SECONDS):
            with suppress(OperationalError):
                processes.keep_alive()

    thread = start_thread(keep)
    try:
        yield
    finally:
        ended.set()
        thread.join()


def save_progress(row: Import, tally: Tally, progress: int) -> None:
    """Store what is done so far. Raises Interrupted if the import is no longer this process's."""
    if is_shutting_down() or not _mine(row).update(progress=min(progress, 99), **_counted(tally)):
        raise Interrupted


def _claim() -> Import | None:
    running = Import.objects.filter(status=Import.Status.RUNNING).values("owner_id")
    due = Q(not_before=None) | Q(not_before__lte=timezone.now())
    queued = Import.objects.filter(due, status=Import.Status.QUEUED).exclude(owner_id__in=running)
    row = queued.order_by("created_at").first()
    if row is None:
        return None
    worker, attempts = processes.this_process(), row.attempts + 1
    try:
        with transaction.atomic():
            taken = Import.objects.filter(pk=row.pk, status=Import.Status.QUEUED, attempts=row.attempts).update(
                status=Import.Status.RUNNING, worker=worker, attempts=attempts
            )
    except IntegrityError:  # another import of this user has just been started
        return None
    row.worker, row.attempts, row.status = worker, attempts, Import.Status.RUNNING
    return row if taken else None


def _run(row: Import) -> None:
    if not _busy.acquire(blocking=False):
        _release(row, pause=timedelta(0))
        return
    try:
        if row.attempts > MAX_ATTEMPTS:
            _end(row, _stopped(row, "attempts"))
            return
        with open_file(row.id) as file:
            run_import(row, file)
        delete_file(row.id)
    except FileNotFoundError:
        _end(row, _stopped(row, "gone"))
    except Interrupted:
        logger.warning("import_interrupted", import_id=str(row.id))
        _release(row, pause=timedelta(0))
    except Exception as error:
        if isinstance(to_api_error(error), StoreUnavailable):
            logger.warning("import_deferred", import_id=str(row.id), reason=type(error).__name__)
            _release(row, pause=min(MAX_PAUSE, timedelta(seconds=5 * row.attempts)))
            return
        logger.exception("import_failed", import_id=str(row.id))
        _end(row, _stopped(row, "fault"))
    finally:
        _busy.release()


def run_import(
    row: Import, file: IO[bytes], *, watch: Callable[[int], object] | None = None, **more: Any
) -> tuple[Tally, int]:
    """Import the file of a running row, and end the row; the counts, and the reader's largest memory in KiB.

    `watch` gets the bytes that are read so far, `more` are further fields of Task. Raises Interrupted,
    StoreUnavailable and OperationalError.
    """
    tally, saved_at = Tally(), time.monotonic()
    quota = None if row.by_command else quota_left(row.owner_id, without=row.id)
    task = Task(row.owner_id, str(row.id), row.source or None, row.bytes, quota, **more)

    def look() -> None:
        nonlocal saved_at
        if watch is not None:
            watch(file.tell())
        if time.monotonic() - saved_at > SAVE_SECONDS:
            with working():
                save_progress(row, tally, file.tell() * 100 // max(1, row.bytes))
            saved_at = time.monotonic()

    try:
        peak = store_conversations(task, file, tally, look)
        with working():
            _end(row, tally)
    finally:
        with working():
            _erase_if_deleted(row.owner_id)
    return tally, peak


def _end(row: Import, tally: Tally) -> None:
    """Store the end. Raises Interrupted if the import is no longer this process's."""
    status = Import.Status.FAILED if tally.broken else Import.Status.FINISHED
    ended = {"status": status, "progress": 100, "finished_at": timezone.now(), "worker": ""}
    if not _mine(row).update(**ended, **_counted(tally)):
        raise Interrupted
    logger.info("import_ended", import_id=str(row.id), status=status, conversations=tally.conversations)


def _stopped(row: Import, reason: str) -> Tally:
    """What was counted so far, for an import that ends before its file does.

    Raises Interrupted if the import is no longer this process's.
    """
    counted = _mine(row).values("conversations", "messages", "text_bytes", "skipped").first()
    if counted is None:
        raise Interrupted
    return Tally(**counted, broken=reason)


def _release(row: Import, *, pause: timedelta) -> None:
    """Leave the import to the next process; if PostgreSQL is away, to the one that finds this process's row lost."""
    try:
        _mine(row).update(status=Import.Status.QUEUED, worker="", not_before=timezone.now() + pause)
    except (StoreUnavailable, OperationalError):
        logger.warning("import_not_released", import_id=str(row.id))


def _mine(row: Import) -> Any:
    return Import.objects.filter(pk=row.pk, status=Import.Status.RUNNING, worker=row.worker, attempts=row.attempts)


def _counted(tally: Tally) -> dict[str, Any]:
    return {
        "conversations": tally.conversations,
        "messages": tally.messages,
        "text_bytes": tally.text_bytes,
        "skipped": tally.skipped,
        "report": tally.lines(),
    }


def _erase_if_deleted(owner_id: int) -> None:
    """An account may be deleted while its conversations are stored, and its eraser may have run before the last."""
    if is_deleted(owner_id):
        transcripts.delete_everything_of(owner_id)
