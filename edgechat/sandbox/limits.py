"""What a process that reads other people's bytes may still do. Where a system knows a limit not, the others hold."""

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
    """No files, no core, and the end when the parent ends; the first to go where memory runs out."""
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
    """Whatever the processes that this one starts leave behind has this one for its parent."""
    if _prctl is not None:
        _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def limit_job(*, seconds: float, memory: int, threads: bool) -> None:
    """The time by the clock and of the processor, and the bytes that may be taken beyond what is in use now.

    All is the system's: no code in C keeps it from killing. Without `threads` no process can be started either: to the
    system both are one.
    """
    if not threads:
        _limit(resource.RLIMIT_NPROC, 0)  # binds nobody who is root
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _limit(resource.RLIMIT_CPU, math.ceil(seconds) + 1)
    # Systems without /proc don't enforce this limit either.
    with suppress(OSError), open("/proc/self/statm") as file:
        _limit(resource.RLIMIT_AS, int(file.read().split()[0]) * _page_size + memory)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))
