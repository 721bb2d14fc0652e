"""Limits for a process that reads untrusted bytes. Where a system does not support one limit, the others hold."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
from contextlib import suppress

_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVILEGES = 1, 36, 38

_prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
_page_size = resource.getpagesize()


def confine(*, parent: int) -> None:
    """Forbid files and core dumps, end with the parent, and be the first process to be killed when memory runs out."""
    if _prctl is not None:
        _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        _prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    # Modules and tables that are imported late are still opened.
    _limit(resource.RLIMIT_NOFILE, 32)


def adopt_orphans() -> None:
    """Make this process the parent of all orphans that its descendants leave behind."""
    if _prctl is not None:
        _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def limit_job(*, seconds: float, memory: int, threads: bool) -> None:
    """Limit wall-clock time, CPU time, and the bytes that may be allocated beyond those in use now.

    The system enforces all of them, also against code in C. Without `threads` the process can start no process either:
    the system counts both alike.
    """
    if not threads:
        _limit(resource.RLIMIT_NPROC, 0)  # does not apply to root
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _limit(resource.RLIMIT_CPU, math.ceil(seconds) + 1)
    # Systems without /proc do not enforce this limit either.
    with suppress(OSError), open("/proc/self/statm") as file:
        _limit(resource.RLIMIT_AS, int(file.read().split()[0]) * _page_size + memory)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))
