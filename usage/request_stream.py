"""Answered requests on their way into a Redis stream.

A record is handed to the operating system before the answer leaves, which delivers it even if the process is killed
the next moment, and nobody waits for Redis to have read it. Once a second `settle` asks how many have arrived.

Redis must answer nothing on that connection (CLIENT REPLY OFF): a socket that is closed with an answer unread, as a
killed process closes it, is reset, and Redis then drops what it has not read yet.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, cast

from edgechat.breaker import PAUSE_SECONDS
from edgechat.redis import RedisError, redis_client

STREAM = "edgechat:usage:requests"
# Bounds on what an outage of PostgreSQL, or of Redis as well, can pile up.
MAX_WAITING_IN_REDIS = 1_000_000
MAX_WAITING_HERE = 100_000
MAX_KEY_CHARACTERS = 40
# Of what is counted: no outage lasts longer, and no clock is so far ahead.
OLDEST, MAX_AHEAD = timedelta(days=366), timedelta(days=1)
# How many of them one request sends beside its own, once Redis is back.
BURST = 100

# KEYS[1] the stream, KEYS[2] how many records of a connection have arrived without a gap; ARGV[1] the stream's length,
# ARGV[2] the record's number on its connection, from 1, then its fields. A record that Redis refuses (it has no memory
# left) makes a gap, behind which nothing counts as arrived.
_ADD = """
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 3))
    if ARGV[2] - 1 == tonumber(redis.call('GET', KEYS[2]) or 0) then
        redis.call('SET', KEYS[2], ARGV[2], 'EX', 3600)
    end
"""


@cache
def _process_token(_pid: int) -> str:
    return secrets.token_hex(8)


_numbers = itertools.count()


def _new_key() -> str:
    return f"{_process_token(os.getpid())}-{next(_numbers):x}"


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """`key`, at most MAX_KEY_CHARACTERS, is this request's alone; None only in records of before there were keys."""

    user_id: int
    at: datetime
    method: str
    route: str
    status: int
    milliseconds: int
    key: str | None = field(default_factory=_new_key)

    def as_arguments(self) -> tuple[str | int | float, ...]:
        """Names and values of the stream's entry."""
        named = ("u", self.user_id, "t", self.at.timestamp(), "m", self.method, "r", self.route)
        return (*named, "s", self.status, "d", self.milliseconds, "k", self.key or "")

    @classmethod
    def from_entry(cls, fields: dict[bytes, bytes]) -> AnsweredRequest | None:
        """What an entry of the stream says; None for one that PostgreSQL would not take, and so is not ours."""
        try:
            record = cls(
                user_id=int(fields[b"u"]),
                at=datetime.fromtimestamp(float(fields[b"t"]), UTC),
                method=fields[b"m"].decode(),
                route=fields[b"r"].decode(),
                status=int(fields[b"s"]),
                milliseconds=int(fields[b"d"]),
                key=fields.get(b"k", b"").decode() or None,
            )
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            return None
        texts = (record.method, record.route, record.key or "")
        fits = 0 < record.user_id < 2**63 and 0 <= record.status < 2**15 and 0 <= record.milliseconds < 2**31
        fits = fits and len(texts[-1]) <= MAX_KEY_CHARACTERS and not any("\0" in text for text in texts)
        now = datetime.now(UTC)
        return record if fits and now - OLDEST < record.at < now + MAX_AHEAD else None


class RequestStream:
    """This process's end of the stream. Records are `waiting`, then sent, then forgotten once they have arrived;
    those that `settle` hands out are with its caller.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None  # of redis-py, which has no types for it
        self._paused_until = 0.0
        self._waiting: deque[AnsweredRequest] = deque(maxlen=MAX_WAITING_HERE)
        self._handed_out: list[AnsweredRequest] = []
        # Of the present connection: what was sent and has not arrived for all we know, the key of the number that has
        # arrived, the numbers that were sent, now and at the last `settle`.
        self._sent: deque[AnsweredRequest] = deque()
        self._arrived_key = ""
        self._sha = ""
        self._count = 0
        self._due = 0

    def add(self, record: AnsweredRequest) -> None:
        """Send a record, or keep it where Redis is away. Never raises; waits only where a connection is opened."""
        with self._lock:
            self._waiting.append(record)
            # Twice: a Redis that was restarted has closed the connection, and may be back already.
            if not self._send_waiting():
                self._send_waiting()

    def held(self) -> list[AnsweredRequest]:
        """The records that this process does not know to be in the stream or in PostgreSQL."""
        with self._lock:
            return [*self._handed_out, *self._sent, *self._waiting]

    def settle(self, *, last: bool = False) -> list[AnsweredRequest]:
        """Forget what has arrived; hand out, for PostgreSQL, what Redis does not take.

        That is what waits, and all of a connection that Redis does not answer for, or does not read: whose records of
        a second ago, with `last` whose latest ones, have not arrived. Some of it may have arrived all the same. The
        caller gives it to `forget` or `put_back`.
        """
        with self._lock:
            asked, due, self._due = self._arrived_key, self._count if last else self._due, self._count
            arrived = self._count - len(self._sent)
        if arrived < self._count:
            arrived = _read_arrived(asked)
        with self._lock:
            if asked != self._arrived_key:
                pass  # the connection broke meanwhile, and what it had sent was sent again
            elif arrived < due:
                self._give_up()
            else:
                while self._sent and self._count - len(self._sent) < arrived:
                    self._sent.popleft()
                self._send_waiting()
            handed_out = list(self._waiting)
            self._waiting.clear()
            self._handed_out += handed_out
        return handed_out

    def forget(self, records: Iterable[AnsweredRequest]) -> None:
        """Records that were handed out are in PostgreSQL."""
        keys = {record.key for record in records}
        with self._lock:
            self._handed_out = [record for record in self._handed_out if record.key not in keys]

    def put_back(self, records: list[AnsweredRequest]) -> None:
        """Records that were handed out could not be written; beyond MAX_WAITING_HERE the oldest are dropped."""
        self.forget(records)
        with self._lock:
            self._wait_first(records)

    def _send_waiting(self) -> bool:
        """Whether the connection held."""
        try:
            for _ in range(min(len(self._waiting), BURST)):
                connection = self._connect()
                connection.write_at_once(self._packed(connection, self._waiting[0]))
                self._sent.append(self._waiting.popleft())
                self._count += 1
        except RedisError:
            self._give_up()
            return False
        return True

    def _connect(self) -> Any:
        if self._connection is None:
            # The pool's settings, but not one of its connections: it would be handed to others.
            self._connection = redis_client().connection_pool.make_connection()
        if not self._connection.is_connected:
            self._open(self._connection)
        return self._connection

    def _open(self, connection: Any) -> None:
        if time.monotonic() < self._paused_until:
            raise RedisError("Redis failed less than a second ago")
        self._paused_until = time.monotonic() + PAUSE_SECONDS
        try:
            connection.connect()
            connection.send_command("SCRIPT", "LOAD", _ADD)
            self._sha = connection.read_response()
            connection.send_command("CLIENT", "REPLY", "OFF")
        except BaseException:
            connection.disconnect()  # or the next one would take it for open
            raise
        self._paused_until = 0.0
        # In the stream's slot of a cluster, as the script has both.
        self._arrived_key = f"{{{STREAM}}}:arrived:{secrets.token_hex(8)}"
        self._count = self._due = 0

    def _packed(self, connection: Any, record: AnsweredRequest) -> bytes:
        number = self._count + 1
        script = ("EVALSHA", self._sha, 2, STREAM, self._arrived_key, MAX_WAITING_IN_REDIS, number)
        return b"".join(connection.pack_command(*script, *record.as_arguments()))

    def _give_up(self) -> None:
        """Close the connection; what has not arrived for all we know waits again, first."""
        if self._connection is not None:
            self._connection.disconnect()
        self._arrived_key, self._count, self._due = "", 0, 0
        self._wait_first(self._sent)
        self._sent = deque()

    def _wait_first(self, records: Iterable[AnsweredRequest]) -> None:
        self._waiting = deque((*records, *self._waiting), maxlen=MAX_WAITING_HERE)


def _read_arrived(key: str) -> int:
    """How many records of a connection have arrived; -1 where Redis does not say."""
    try:
        return int(cast("bytes | None", redis_client().get(key)) or 0)
    except (RedisError, ValueError):
        return -1
