"""Which processes are alive. Each web process renews the lease in its row in PostgreSQL, by PostgreSQL's clock.
Replies, calls in the ledger and the locks of the answer cache name their process.

A process that has not renewed its row for a whole lease is declared dead permanently. Other processes then restart its
replies and settle its calls. If it was only slow, it continues under a new name and cannot claim what it has lost.
While PostgreSQL is down no process can renew its row. A process may therefore declare others dead only after it has
renewed its own row for a whole lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import OperationalError, connection
from django.db.models.functions import Now

from edgechat.processes.process_name import process_name
from edgechat.stores import clock, store_time
from edgechat.stores.postgresql.base import BoundedConnection
from usage.models import Process

logger = structlog.get_logger(__name__)

# Long enough for a slow PostgreSQL and three missed heartbeats. Short enough that the reply of a killed process is
# restarted and complete within 30 seconds.
LEASE_SECONDS = 8.0
HEARTBEAT_SECONDS = 2.0
# How long a request waits for another request's renewal of the row: PostgreSQL may be frozen.
PATIENCE_SECONDS = 2.0
# The limit of one renewal, after which its connection is closed. A new connection may work when a server or network is
# silent on the old one. Other processes that reach PostgreSQL must not declare this one dead.
RENEWAL_SECONDS = 2.5

_TABLE = Process._meta.db_table
_LEASE = f"interval '{LEASE_SECONDS} seconds'"
_BEGIN = f"""
    INSERT INTO {_TABLE} (name, alive_until) VALUES (%(name)s, now() + {_LEASE}) RETURNING clock_timestamp()
"""  # noqa: S608  (constants, here and below)
# If this process was late by half a lease, others may have been late by a whole one.
_RENEW = f"""
    UPDATE {_TABLE}
       SET held_since = CASE WHEN alive_until < now() + {_LEASE} / 2 THEN now() ELSE held_since END,
           alive_until = now() + {_LEASE}
     WHERE name = %(name)s AND NOT dead
    RETURNING clock_timestamp()
"""  # noqa: S608
# Written by hand because every process runs it every other second: the ORM took most of an idle process's CPU for it.
_JUDGE = f"""
    UPDATE {_TABLE} SET dead = true
     WHERE NOT dead AND alive_until < statement_timestamp()
       AND (%(by_hand)s OR EXISTS (
            SELECT FROM {_TABLE}
             WHERE name = %(name)s AND NOT dead
               AND alive_until > statement_timestamp() + {_LEASE} / 2
               AND held_since < statement_timestamp() - {_LEASE}))
"""  # noqa: S608
_LEAVE = f"UPDATE {_TABLE} SET leaving = true WHERE name = %(name)s RETURNING name"  # noqa: S608
_lock = threading.Lock()
_name = ""
_names_taken = 0
_renewed_at = -LEASE_SECONDS
_alive: frozenset[str] = frozenset()
_alive_at = 0.0
# A separate connection: a renewal must not wait for a pool that a thousand requests use.
_connection: BoundedConnection | None = None


def this_process() -> str:
    """The current name of this process in replies and calls. Raises OperationalError."""
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
    """Let other processes take over this one's replies immediately; it keeps the calls that it is making."""
    with _lock:
        _execute(_LEAVE, _name)


def find_lost(*, by_hand: bool = False) -> list[str]:
    """The names of processes that are dead, or that have released their replies.

    `by_hand`: for an operator's command, which may declare processes dead while no web process can.
    """
    judge_processes(by_hand=by_hand)
    return [process.name for process in Process.objects.all() if process.dead or process.leaving]


def judge_processes(*, by_hand: bool = False) -> None:
    """Declare processes dead that have not renewed their row in time."""
    with connection.cursor() as cursor:
        cursor.execute(_JUDGE, {"name": _name, "by_hand": by_hand})


def is_alive(name: str) -> bool:
    """Whether a process is known and not dead, as of at most one heartbeat ago; True if PostgreSQL does not answer."""
    global _alive, _alive_at
    if name not in _alive or time.monotonic() - _alive_at > HEARTBEAT_SECONDS:
        try:
            _alive = frozenset(Process.objects.filter(dead=False).values_list("name", flat=True))
        except OperationalError:
            return True
        _alive_at = time.monotonic()
    return name in _alive


def declare_dead(name: str) -> None:
    """Declare an unknown process dead; does nothing if the process is known."""
    Process.objects.bulk_create([Process(name=name, alive_until=Now(), dead=True)], ignore_conflicts=True)


def forget(names: Collection[str]) -> None:
    """Delete the rows of those processes that have been dead for two minutes. No reply may name one of them."""
    if names:
        # Later than any write that the process can have started before it was declared dead.
        Process.objects.filter(name__in=names, dead=True, alive_until__lt=Now() - timedelta(minutes=2)).delete()


def _is_fresh() -> bool:
    return time.monotonic() - _renewed_at < LEASE_SECONDS / 2


def _renew() -> None:
    global _name, _names_taken, _renewed_at
    started_at = time.monotonic()
    now = _execute(_RENEW, _name) if _name else None
    if now is None:
        if _name:
            logger.warning("declared_dead", process=_name)
        _names_taken += 1
        name = f"{process_name()}:{_names_taken}"
        started_at = time.monotonic()
        now = _execute(_BEGIN, name)
        _name = name
    _renewed_at = started_at
    if now is not None:
        clock.learn(now, sent_at=started_at, answered_at=time.monotonic())


def _execute(statement: str, name: str) -> datetime | None:
    """The first value that a statement returns, or None, through the separate connection."""
    global _connection
    with connection.wrap_database_errors, store_time.at_most(RENEWAL_SECONDS):
        if _connection is None or _connection.closed:
            _connection = BoundedConnection.connect(**_connection_params())
        row = _connection.execute(statement, {"name": name}).fetchone()
    return row[0] if row else None


def _connection_params() -> dict[str, Any]:
    # A PostgreSQL host that disappears without closing connections must not block the renewals of this process.
    more = {"autocommit": True, "tcp_user_timeout": 3000, "application_name": "edgechat heartbeat"}
    return {**connection.get_connection_params(), **more}
