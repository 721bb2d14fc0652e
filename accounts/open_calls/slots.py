"""Limits on the simultaneous replies and event streams of one user, across all processes.

A slot is a member of a sorted set in Redis; its score is the end of the lease. The process renews the lease while it
holds the slot, so the slots of a killed process expire within SLOT_SECONDS. While Redis is down, each process counts
its own slots only.
"""

from __future__ import annotations

import functools
import threading
import uuid
from types import TracebackType
from typing import Literal, Self

import structlog
from django.conf import settings

from edgechat.errors import RateLimited
from edgechat.metrics import catalog, sampling
from edgechat.stores.redis import RedisError, Script, redis_client

logger = structlog.get_logger(__name__)

SLOT_SECONDS = 12.0
RENEW_SECONDS = 3.0
# The duration of a reply is unknown; this is a reasonable interval for a retry.
RETRY_AFTER_SECONDS = 5
SLOTS_PER_BATCH = 1000

Kind = Literal["replies", "streams"]
KINDS: tuple[Kind, ...] = ("replies", "streams")

_NOW = """
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local function only_a_set(key)
        if redis.call('TYPE', key).ok ~= 'zset' then redis.call('DEL', key) end
    end
"""
# KEYS: the user's set. ARGV: the member, its group, the lease in ms, the maximum number of groups (negative: no
# maximum). Members are "group/name"; the members of one group count as one. The script removes members of another form
# or with more than one lease left, as this application did not write them.
_TAKE = f"""
    {_NOW}
    only_a_set(KEYS[1])
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now + ARGV[3]), '+inf')
    local limit = tonumber(ARGV[4])
    if limit >= 0 then
        local groups, count = {{}}, 0
        for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
            local group = string.match(member, '^(.*)/')
            if not group then
                redis.call('ZREM', KEYS[1], member)
            elseif not groups[group] then
                groups[group] = true
                count = count + 1
            end
        end
        if not groups[ARGV[2]] and count >= limit then return 0 end
    end
    redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return 1
"""
# KEYS: the user's set. ARGV: the lease in ms, the member.
_RENEW = f"""
    {_NOW}
    only_a_set(KEYS[1])
    redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""

_LEASE = int(SLOT_SECONDS * 1000)


class TooManyReplies(RateLimited):
    code = "too_many_replies"
    detail = "20 event streams are open for this account, as many as there may be; wait for one of them to end"

    def __init__(self, kind: Kind, limit: int) -> None:
        what = "replies are being written" if kind == "replies" else "event streams are open"
        super().__init__(
            f"{limit} {what} for this account, as many as there may be; wait for one of them to end",
            retry_after=RETRY_AFTER_SECONDS,
            limit=kind,
        )


class Slot:
    """A slot that is held. The end of the `with` block releases it unless `keep` was called."""

    def __init__(self, kind: Kind, user_id: int, group: str) -> None:
        self.kind = kind
        self.key = _key(kind, user_id)
        self.group = group
        self.member = f"{group}/{uuid.uuid4().hex}"
        self._kept = False

    def keep(self) -> None:
        """Hold the slot after the block. The caller of this method has to release it."""
        self._kept = True

    def release(self) -> None:
        with _lock:
            _held.discard(self)
        try:
            redis_client().zrem(self.key, self.member)
        except RedisError as error:
            logger.info("slot_left_to_expire", reason=type(error).__name__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            self.release()


_held: set[Slot] = set()
_lock = threading.Lock()
sampling.register(lambda: catalog.http_streams.set(sum(slot.kind == "streams" for slot in _held)))


def take_slot(kind: Kind, user_id: int, *, group: str | None = None, always: bool = False) -> Slot:
    """A slot for one more reply or stream of this user. Raises TooManyReplies.

    The slots of one `group` count as one: a conversation has at most one reply at a time, whichever user starts it.
    With `always` the slot is taken beyond the limit too, for work that is already running.
    """
    limit: int = settings.MAX_REPLIES_PER_USER if kind == "replies" else settings.MAX_STREAMS_PER_USER
    slot = Slot(kind, user_id, group or uuid.uuid4().hex)
    try:
        arguments: list[str | int] = [slot.member, slot.group, _LEASE, -1 if always else limit]
        taken = bool(_script(_TAKE)(keys=[slot.key], args=arguments))
    except RedisError as error:
        logger.warning("slots_of_this_process_alone", reason=type(error).__name__)
        taken = always or _has_room(slot, limit)
    if not taken:
        catalog.rate_limited.labels(kind).inc()
        raise TooManyReplies(kind, limit)
    with _lock:
        _held.add(slot)
    return slot


def renew_slots() -> None:
    """Renew the leases of this process's slots. Runs every RENEW_SECONDS."""
    with _lock:
        held = list(_held)
    try:
        for first in range(0, len(held), SLOTS_PER_BATCH):
            some = held[first : first + SLOTS_PER_BATCH]
            # Each user's set may be in a different cluster slot, and a script can only access one slot.
            pipeline = redis_client().pipeline(transaction=False)
            for slot in some:
                _script(_RENEW)(keys=[slot.key], args=[_LEASE, slot.member], client=pipeline)
            for slot, answer in zip(some, pipeline.execute(raise_on_error=False), strict=True):
                if isinstance(answer, RedisError):  # one set failed; the others may have succeeded
                    logger.warning("slot_not_renewed", key=slot.key, reason=str(answer))
        for slot in held:
            if slot not in _held:  # released during the renewal
                redis_client().zrem(slot.key, slot.member)
    except RedisError as error:
        logger.warning("slots_not_renewed", reason=type(error).__name__)


def forget_slots(user_id: int) -> None:
    """Delete a user's slots from Redis. Raises RedisError."""
    for kind in KINDS:
        redis_client().unlink(_key(kind, user_id))


def _has_room(slot: Slot, limit: int) -> bool:
    with _lock:
        groups = {held.group for held in _held if held.key == slot.key}
    return slot.group in groups or len(groups) < limit


def _key(kind: Kind, user_id: int) -> str:
    return f"edgechat:slots:{kind}:{user_id}"


@functools.cache
def _script(text: str) -> Script:
    return redis_client().register_script(text)
