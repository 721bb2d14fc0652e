"""What each web process tells operators about itself: `manage.py status` and `doctor` read it from Redis."""

from __future__ import annotations

import functools
import json
import os
import time
from contextlib import suppress
from typing import TypedDict, cast

from edgechat import __version__
from edgechat.processes import periodic
from edgechat.processes.threads import turns
from edgechat.stores import clock
from edgechat.stores.redis import RedisError, redis_client
from usage.processes import this_process
from usage.requests.request_stream import held

REPORT_SECONDS = 2.0
# A report that is older is gone: the process cannot reach Redis, or does not run.
KEPT_SECONDS = 30


@functools.cache
def _began(pid: int) -> float:
    return time.monotonic()


class ProcessReport(TypedDict):
    """The times are in seconds.

    `seconds`: since the first report. `clock_ahead`: by how much the machine's clock is ahead of PostgreSQL's.
    `working`, `waiting`: requests and replies that have a turn, and that wait for one. `uncounted`: requests whose
    count Redis has not confirmed.
    """

    version: str
    pid: int
    seconds: float
    clock_ahead: float
    working: int
    waiting: int
    uncounted: int
    tasks: list[periodic.TaskState]


def report_process() -> None:
    """Called every REPORT_SECONDS; does nothing while Redis is down. Raises OperationalError."""
    working, waiting = turns()
    report = ProcessReport(
        version=__version__,
        pid=os.getpid(),
        seconds=round(time.monotonic() - _began(os.getpid()), 1),
        clock_ahead=round(time.time() - clock.now().timestamp(), 3),
        working=working,
        waiting=waiting,
        uncounted=len(held),
        tasks=periodic.states(),
    )
    with suppress(RedisError):
        redis_client().set(_key(this_process()), json.dumps(report), ex=KEPT_SECONDS)


def read_report(process: str) -> ProcessReport | None:
    """The last report of a process; None if there is none. Raises RedisError."""
    text = redis_client().get(_key(process))
    return None if text is None else cast(ProcessReport, json.loads(text))


def _key(process: str) -> str:
    return f"edgechat:process:{process}"
