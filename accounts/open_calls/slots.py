"""How many replies, and how many event streams, one user has at once, on all processes together.

A slot is a member of a sorted set in Redis, with the time until which its process has it. The process renews it while
it is held, so a killed process gives up its own within SLOT_SECONDS. While Redis is away each process counts for
itself.
"""

from __future__ import annotations

import functools
import threading
import uuid
from types import TracebackType
from typing import Literal, Self

import structlog
from django.conf import settings
from redis.commands.core import Script

from edgechat.errors import RateLimited
from edgechat.stores.redis import RedisError, redis_client

logger = structlog.get_logger(__name__)

SLOT_SECONDS = 12.0
RENEW_SECONDS = 3.0
# How long a reply takes cannot be known: often enough to ask again.
RETRY_AFTER_SECONDS = 5
RENEWED_AT_ONCE = 1000

Kind = Literal["replies", "streams"]
KINDS: tuple[Kind, ...] = ("replies", "streams")

_NOW = """
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local function only_a_set(key)
        if redis.call('TYPE', key).ok ~= 'zset' then redis.call('DEL', key) end
    end
"""
# KEYS: the user's set. ARGV: the member, its group, the lease in ms, how many groups there may be (negative: any
# number). Members are "group/name"; those of one group count as one. What is neither, or held for longer than a lease,
# nobody of ours has written.
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

    def __init__(self, kind: Kind, limit: int) -> None:
        what = "replies are being written" if kind == "replies" else "event streams are open"
        super().__init__(
            f"{limit} {what} for this account, as many as there may be; wait for one of them to end",
            retry_after=RETRY_AFTER_SECONDS,
        )


class Slot:
    """A place that is taken. It is given back at the end of its `with` block, unless it was kept in it."""

    def __init__(self, kind: Kind, user_id: int, group: str) -> None:
        self.key = _key(kind, user_id)
        self.group = group
        self.member = f"{group}/{uuid.uuid4().hex}"
        self._kept = False

    def keep(self) -> None:
        """Go on holding it after the block; who does so releases it."""
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


def take_slot(kind: Kind, user_id: int, *, group: str | None = None, always: bool = False) -> Slot:
    """A place for one more reply or stream of this user. Raises TooManyReplies.

    Slots of one `group` count as one: a conversation has one reply at a time, whoever tries to begin it. With `always`
    it is taken beyond the limit too, for what runs already.
    """
    limit: int = settings.MAX_REPLIES_PER_USER if kind == "replies" else settings.MAX_STREAMS_PER_USER
    slot = Slot(kind, user_id, group or uuid.uuid4().hex)
    try:
        asked: list[str | int] = [slot.member, slot.group, _LEASE, -1 if always else limit]
        taken = bool(_script(_TAKE)(keys=[slot.key], args=asked))
    except RedisError as error:
        logger.warning("slots_of_this_process_alone", reason=type(error).__name__)
        taken = always or _has_room(slot, limit)
    if not taken:
        raise TooManyReplies(kind, limit)
    with _lock:
        _held.add(slot)
    return slot


def renew_slots() -> None:
    """Keep this process's slots; called every RENEW_SECONDS."""
    with _lock:
        held = list(_held)
    try:
        for first in range(0, len(held), RENEWED_AT_ONCE):
            some = held[first : first + RENEWED_AT_ONCE]
            # Users' sets are in different slots of a cluster: a script has one of them.
            pipeline = redis_client().pipeline(transaction=False)
            for slot in some:
                _script(_RENEW)(keys=[slot.key], args=[_LEASE, slot.member], client=pipeline)
            for slot, answer in zip(some, pipeline.execute(raise_on_error=False), strict=True):
                if isinstance(answer, RedisError):  # of one set, which says nothing of the others
                    logger.warning("slot_not_renewed", key=slot.key, reason=str(answer))
        for slot in held:
            if slot not in _held:  # released while it was being renewed
                redis_client().zrem(slot.key, slot.member)
    except RedisError as error:
        logger.warning("slots_not_renewed", reason=type(error).__name__)


def forget_slots(user_id: int) -> None:
    """Delete what Redis has of a user's slots. Raises RedisError."""
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
