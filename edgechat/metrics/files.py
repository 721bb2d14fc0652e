"""The files in which the web processes keep their metrics: prometheus_client's multi-process mode.

Each process writes files of its own, and a scrape in any process reads those of all. gunicorn's configuration creates
the folder before anything imports prometheus_client, and its master cleans up after each process that ended, so the
number of files does not grow with the number of processes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# In memory where there is such a file system, so that no metric waits for a disk.
_PARENT = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())  # noqa: S108  # nosec B108
_PREFIX = "edgechat-metrics-"
# Read by prometheus_client.
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# The name in place of a process id, for the sums of processes that have ended.
ENDED = "ended"

_folder: Path | None = None
_ended: set[int] = set()


def create_folder() -> None:
    """Create this run's empty folder, and delete the folders of runs that were killed. A second call does nothing."""
    global _folder
    if _folder is not None:  # gunicorn reads its configuration again on SIGHUP
        return
    for left in _PARENT.glob(f"{_PREFIX}*"):
        with suppress(OSError), open(left / "owner", opener=_without_waiting) as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # every process of the run that created it has ended
            shutil.rmtree(left)
    _folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PARENT))
    # Held by this process and its children, which inherit the descriptor, until the last of them ends.
    fcntl.flock(os.open(_folder / "owner", os.O_CREAT | os.O_RDWR, 0o600), fcntl.LOCK_EX)
    (_folder / "lock").touch(0o600)
    os.environ[_VARIABLE] = str(_folder)


def _without_waiting(path: str, flags: int) -> int:
    """Every user of the machine can create files there: opening a pipe would wait for somebody who writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def delete_folder() -> None:
    """Delete this run's folder. Called by the master when it ends."""
    if _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)


def folder() -> Path:
    """The folder of this run. Raises RuntimeError outside gunicorn: the metrics of a command are read by nobody."""
    if _folder is None:
        raise RuntimeError("Only gunicorn's processes keep their metrics in files")
    return _folder


@contextmanager
def unchanged() -> Iterator[bool]:
    """Keep the files of ended processes as they are during the block; yields False if they are being changed."""
    with _locked(fcntl.LOCK_SH) as locked:
        yield locked


def forget_process(pid: int) -> None:
    """Remove the gauges of a process that has ended, and add its counts to those of all ended processes.

    While a scrape reads the files this is left to the next call, because the scrape would count the process twice.
    """
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
    _ended.add(pid)
    with _locked(fcntl.LOCK_EX) as locked:
        if not locked:
            return
        for each in _ended:
            for kind in ("counter", "histogram"):
                _add_to_ended(kind, each)
        _ended.clear()


def _add_to_ended(kind: str, pid: int) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    file, sums = folder() / f"{kind}_{pid}.db", folder() / f"{kind}_{ENDED}.db"
    if not file.exists():
        return
    total = MmapedDict(str(sums))  # type: ignore[no-untyped-call]
    try:
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            total.write_value(key, total.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    finally:
        total.close()  # type: ignore[no-untyped-call]
        file.unlink()


@contextmanager
def _locked(kind: int) -> Iterator[bool]:
    with (folder() / "lock").open() as lock:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
