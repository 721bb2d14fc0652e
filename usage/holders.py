"""Which process makes the calls that are open in the ledger, and whether it lives: a killed one settles nothing.

A web process renews its row; when it has not done so for a while, others settle its calls and give back what they had
reserved. Times are PostgreSQL's.
"""

from __future__ import annotations

import time

from django.db import connection

from edgechat import periodic
from edgechat.process_name import process_name

# Long enough for a process that is short of CPU, or waits for a connection, to be late some times.
LEASE_SECONDS = 20.0
RENEW_SECONDS = 4.0

_RENEW = """
    INSERT INTO usage_ledgerholder (name, alive_until) VALUES (%(name)s, now() + make_interval(secs => %(lease)s))
    ON CONFLICT (name) DO UPDATE SET alive_until = excluded.alive_until
"""

_renewed_at: float | None = None
_held_since = 0.0


def keep_alive() -> None:
    """Renew this process's row; called every RENEW_SECONDS."""
    global _renewed_at, _held_since
    asked_at = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, {"name": process_name(), "lease": LEASE_SECONDS})
    if not _is_held():
        _held_since = asked_at
    _renewed_at = asked_at


def holder() -> str:
    """This process as the one that makes a call; empty where nothing renews its row: in a command."""
    if not periodic.is_started():
        return ""
    if not _is_held():
        keep_alive()
    return process_name()


def can_tell_the_dead() -> bool:
    """Whether PostgreSQL has been there for as long as a lease: if not, others may be late because of it, and live."""
    return _is_held() and time.monotonic() - _held_since >= LEASE_SECONDS


def forget_the_dead() -> None:
    """Delete the rows of processes that are gone, once none of their calls is open any more."""
    if can_tell_the_dead():
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM usage_ledgerholder WHERE alive_until < now() - interval '10 minutes'")


def _is_held() -> bool:
    return _renewed_at is not None and time.monotonic() - _renewed_at < LEASE_SECONDS
