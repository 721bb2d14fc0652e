"""Answered requests on their way to PostgreSQL: in this process's memory, and in the Redis stream."""

from __future__ import annotations

import itertools
import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, cast

from edgechat.metrics import catalog, sampling
from edgechat.stores.redis import RedisError, drop_foreign, is_foreign, redis_client

STREAM = "edgechat:usage:requests"
# Limits what accumulates while PostgreSQL is down.
MAX_WAITING_IN_REDIS = 1_000_000
MAX_KEY_CHARACTERS = 40
MAX_ID_CHARACTERS = 128
MAX_REASON_CHARACTERS = 60
# Bounds for the time of a request: no outage lasts longer, and no clock is further ahead.
OLDEST, MAX_AHEAD = timedelta(days=366), timedelta(days=1)


@cache
def _process_token(_pid: int) -> str:
    return secrets.token_hex(8)


_numbers = itertools.count()


def _new_key() -> str:
    return f"{_process_token(os.getpid())}-{next(_numbers):x}"


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """`key`, at most MAX_KEY_CHARACTERS, is unique to the request; None only in records from before keys existed."""

    user_id: int
    at: datetime
    method: str
    route: str
    status: int
    milliseconds: int
    request_id: str = ""
    is_long: bool = False
    reason: str = ""
    key: str | None = field(default_factory=_new_key)

    def as_arguments(self) -> tuple[str | int | float, ...]:
        """The names and values of the stream's entry."""
        named = ("u", self.user_id, "t", self.at.timestamp(), "m", self.method, "r", self.route)
        more = ("i", self.request_id, "l", int(self.is_long), "k", self.key or "")
        reason = ("e", self.reason) if self.reason else ()
        return (*named, "s", self.status, "d", self.milliseconds, *more, *reason)

    @classmethod
    def from_entry(cls, fields: dict[bytes, bytes]) -> AnsweredRequest | None:
        """The request of a stream entry; None for an entry that PostgreSQL would not accept, so it is not ours."""
        try:
            record = cls(
                user_id=int(fields[b"u"]),
                at=datetime.fromtimestamp(float(fields[b"t"]), UTC),
                method=fields[b"m"].decode(),
                route=fields[b"r"].decode(),
                status=int(fields[b"s"]),
                milliseconds=int(fields[b"d"]),
                request_id=fields.get(b"i", b"").decode(),
                is_long=fields.get(b"l") == b"1",
                reason=fields.get(b"e", b"").decode()[:MAX_REASON_CHARACTERS],
                key=fields.get(b"k", b"").decode() or None,
            )
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            return None
        texts = (record.method, record.route, record.reason, record.request_id, record.key or "")
        are_short = len(texts[-1]) <= MAX_KEY_CHARACTERS and len(texts[-2]) <= MAX_ID_CHARACTERS
        fits = 0 < record.user_id < 2**63 and 0 <= record.status < 2**15 and 0 <= record.milliseconds < 2**31
        fits = fits and are_short and not any("\0" in text for text in texts)
        now = datetime.now(UTC)
        return record if fits and now - OLDEST < record.at < now + MAX_AHEAD else None


def add_to_stream(record: AnsweredRequest) -> None:
    """Returns after Redis has confirmed the record. Raises RedisError; the record may have arrived nevertheless."""
    redis: Any = redis_client()  # the types of redis-py lack this command
    redis.execute_command("XADD", STREAM, "MAXLEN", "~", MAX_WAITING_IN_REDIS, "*", *record.as_arguments())


def read_stream(after: str, *, count: int | None = None) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries after an id, the oldest first. Raises RedisError."""
    try:
        answer = redis_client().xrange(STREAM, min=f"({after}", max="+", count=count)
    except RedisError as error:
        if is_foreign(error):
            drop_foreign("stream", STREAM)
        raise
    return cast("list[tuple[bytes, dict[bytes, bytes]]]", answer)


def stream_state(after: str) -> tuple[int, float | None, float]:
    """The number of entries, the time of the first one after an id, if any, and the time now, by Redis' clock.

    Raises RedisError.
    """
    pipeline = redis_client().pipeline(transaction=False)
    pipeline.xlen(STREAM)
    pipeline.xrange(STREAM, min=f"({after}", max="+", count=1)
    pipeline.time()
    length, first, (seconds, micros) = pipeline.execute()
    oldest_at = int(first[0][0].partition(b"-")[0]) / 1000 if first else None
    return int(length), oldest_at, seconds + micros / 10**6


# By key: records that Redis has not confirmed, although they may have arrived; and records that it has confirmed since
# the last round of `collect_requests`, which this process still has if Redis goes down.
held: dict[str | None, AnsweredRequest] = {}
confirmed: dict[str | None, AnsweredRequest] = {}
sampling.register(lambda: catalog.counting_held.set(len(held)))
