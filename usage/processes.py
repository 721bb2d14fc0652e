"""Which processes live. Each web process has a row in PostgreSQL that it renews, on PostgreSQL's clock; replies, the
ledger's calls and the locks of kept answers name it.

One that has not renewed its row for a whole lease is declared dead, for good: other processes begin its replies again
and settle its calls. If it was only slow it goes on under another name, so it can't take what it has lost for its own.
While PostgreSQL is away nobody can renew a row, so who judges must have renewed its own for a whole lease.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import Any

import structlog
from django.db import OperationalError, connection

from edgechat.processes.process_name import process_name
from edgechat.stores import clock, store_time
from edgechat.stores.postgresql.base import BoundedConnection
from usage.models import Process

logger = structlog.get_logger(__name__)

# Long enough to outlast a slow PostgreSQL and three missed heartbeats; short enough for a reply whose process was
# killed to be begun again and ended within 30 seconds.
LEASE_SECONDS = 8.0
HEARTBEAT_SECONDS = 2.0
# How long a request waits for another that renews the row: PostgreSQL may be frozen.
PATIENCE_SECONDS = 2.0
# Of one renewal, whose connection is given up after it. A server or a network that is silent on that one may answer on
# the next, and this process must not be taken for dead by those who get through.
RENEWAL_SECONDS = 2.5

_TABLE = Process._meta.db_table
_LEASE = f"interval '{LEASE_SECONDS} seconds'"
_BEGIN = f"""
    INSERT INTO {_TABLE} (name, alive_until) VALUES (%(name)s, now() + {_LEASE}) RETURNING clock_timestamp()
"""  # noqa: S608  (constants, here and below)
# Where this process was late by half a lease, others may have been late by a whole one.
_RENEW = f"""
    UPDATE {_TABLE}
       SET held_since = CASE WHEN alive_until < now() + {_LEASE} / 2 THEN now() ELSE held_since END,
           alive_until = now() + {_LEASE}
     WHERE name = %(name)s AND NOT dead
    RETURNING clock_timestamp()
"""  # noqa: S608
_JUDGE = f"""
    UPDATE {_TABLE} SET dead = true
     WHERE NOT dead AND alive_until < now()
       AND (%(by_hand)s OR EXISTS (
               SELECT FROM {_TABLE} AS judge
                WHERE judge.name = %(judge)s AND NOT judge.dead
                  AND judge.alive_until > now() + {_LEASE} / 2 AND judge.held_since < now() - {_LEASE}))
"""  # noqa: S608
_LEAVE = f"UPDATE {_TABLE} SET leaving = true WHERE name = %(name)s RETURNING name"  # noqa: S608
_DECLARE_DEAD = f"""
    INSERT INTO {_TABLE} (name, alive_until, dead) VALUES (%(name)s, now(), true) ON CONFLICT DO NOTHING
"""  # noqa: S608
# Later than any write that a process began before it was declared dead can take to arrive.
_FORGET = f"DELETE FROM {_TABLE} WHERE name = %(name)s AND dead AND alive_until < now() - interval '2 minutes'"  # noqa: S608

_lock = threading.Lock()
_name = ""
_names_taken = 0
_renewed_at = -LEASE_SECONDS
_alive: frozenset[str] = frozenset()
_alive_at = 0.0
# Of its own, for a renewal must not wait while a thousand requests use those of the pool.
_connection: BoundedConnection | None = None


def this_process() -> str:
    """The name under which this process writes replies and makes calls now. Raises OperationalError."""
    if not _is_fresh():
        with store_time.waiting() as seconds:
            if not _lock.acquire(timeout=min(PATIENCE_SECONDS, seconds)):
                raise OperationalError("PostgreSQL does not answer")
        try:
            if not _is_fresh():
                _renew()
        finally:
            _lock.release()
    return _name


def keep_alive() -> None:
    """Renew this process's row; called every HEARTBEAT_SECONDS."""
    with _lock:
        _renew()


def leave() -> None:
    """Let other processes have this one's replies at once; the calls that it still makes remain its own."""
    with _lock:
        _ask(_LEAVE, _name)


def find_lost(*, by_hand: bool = False) -> list[str]:
    """The names of processes that are dead, or that let others have their replies.

    `by_hand`: where there is nobody else to judge, an operator's word is enough.
    """
    judge_processes(by_hand=by_hand)
    return [process.name for process in Process.objects.all() if process.dead or process.leaving]


def judge_processes(*, by_hand: bool = False) -> None:
    """Declare those dead that have not renewed their row in time."""
    _execute(_JUDGE, {"by_hand": by_hand, "judge": _name})


def is_alive(name: str) -> bool:
    """Whether a process is known and not dead, or was a heartbeat ago; yes while PostgreSQL does not answer."""
    global _alive, _alive_at
    if name not in _alive or time.monotonic() - _alive_at > HEARTBEAT_SECONDS:
        try:
            _alive = frozenset(Process.objects.filter(dead=False).values_list("name", flat=True))
        except OperationalError:
            return True
        _alive_at = time.monotonic()
    return name in _alive


def declare_dead(name: str) -> None:
    """Declare a process dead that is not known; nothing if it is."""
    _execute(_DECLARE_DEAD, {"name": name})


def forget(name: str) -> None:
    """Delete the row of a process that has been dead for a while, when no reply names it any more."""
    _execute(_FORGET, {"name": name})


def _is_fresh() -> bool:
    return time.monotonic() - _renewed_at < LEASE_SECONDS / 2


def _renew() -> None:
    global _name, _names_taken, _renewed_at
    asked_at = time.monotonic()
    told = _ask(_RENEW, _name) if _name else None
    if told is None:
        if _name:
            logger.warning("declared_dead", process=_name)
        _names_taken += 1
        name = f"{process_name()}:{_names_taken}"
        asked_at = time.monotonic()
        told = _ask(_BEGIN, name)
        _name = name
    _renewed_at = asked_at
    if told is not None:
        clock.learn(told, asked_at=asked_at, answered_at=time.monotonic())


def _ask(statement: str, name: str) -> datetime | None:
    """The one value that a statement returns, if any; by the connection of its own."""
    global _connection
    with connection.wrap_database_errors, store_time.at_most(RENEWAL_SECONDS):
        if _connection is None or _connection.closed:
            _connection = BoundedConnection.connect(**_connection_params())
        row = _connection.execute(statement, {"name": name}).fetchone()
    return row[0] if row else None


def _connection_params() -> dict[str, Any]:
    # A machine of PostgreSQL's that is gone, and says so to nobody, must not hold the renewals of this process.
    more = {"autocommit": True, "tcp_user_timeout": 3000, "application_name": "edgechat heartbeat"}
    return {**connection.get_connection_params(), **more}


def _execute(statement: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
