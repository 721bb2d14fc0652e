"""Caches answers in Redis for AI_CACHE_SECONDS, for the user who got them. One request at a time makes each answer.

A key contains a hash of the prompt, never the prompt. Without Redis every request asks the model.
"""

from __future__ import annotations

import functools
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import structlog
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone
from redis.commands.core import Script

from accounts.models import User
from ai.gemini.call_control import CallCancelled
from edgechat.errors import StoreUnavailable
from edgechat.processes.threads import waiting
from edgechat.stores.redis import RedisError, drop_foreign, is_foreign, redis_client
from usage import processes

logger = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.25
FORGOTTEN_AT_ONCE = 1000
# For one answer as ASCII JSON; larger than what an answer of MAX_ANSWER_BYTES (ai.calls.metered) can become.
MAX_KEPT_BYTES = 8_000_000

# KEYS: the answer, the lock. ARGV: the caller's name, the longest life of a lock in ms, the value of a dead process's
# lock. Returns the answer, 1 if the caller now holds the lock, or else the lock's value in a list. A lock of a dead
# process, or one whose expiry is missing or too late, is deleted.
_ENTER = """
    local answer = redis.call('GET', KEYS[1])
    if answer then return answer end
    local kind, left = redis.call('TYPE', KEYS[2]).ok, redis.call('PTTL', KEYS[2])
    if kind ~= 'string' or left == -1 or left > tonumber(ARGV[2]) or redis.call('GET', KEYS[2]) == ARGV[3] then
        redis.call('DEL', KEYS[2])
    end
    if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
    return {redis.call('GET', KEYS[2])}
"""
# KEYS: the lock. ARGV: the name of its holder.
_LEAVE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@functools.cache
def _script(text: str) -> Script:
    return redis_client().register_script(text)


class QueuePlace:
    """A place in the queue of requests for the same answer; `found` is the cached answer or None."""

    def __init__(self, user_id: int, parts: list[Any]) -> None:
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        self.found: dict[str, Any] | None = None
        self._user_id = user_id
        self._key = f"{_index(user_id)}:{digest}"
        self._lock = f"{self._key}:lock"
        self._name = ""
        self._holds = False

    def wait(self, cancelled: threading.Event) -> None:
        """Wait until the answer is cached or this request may ask the model.

        The lock names the process of its holder: no request waits for a dead one. A request that fails releases the
        lock, and the next one tries. A request that has waited for AI_TIMEOUT_SECONDS asks the model without the lock:
        otherwise, while the model hangs, the last request of a long queue would wait for the calls of all the others.

        Raises CallCancelled, and OperationalError if PostgreSQL does not answer.
        """
        deadline = time.monotonic() + settings.AI_TIMEOUT_SECONDS
        pause = FIRST_PAUSE_SECONDS
        self._name = f"{processes.this_process()} {uuid.uuid4().hex}"
        dead: bytes | str = ""
        while time.monotonic() < deadline:
            args: list[str | bytes | int] = [self._name, int(settings.AI_TIMEOUT_SECONDS * 1000), dead]
            answer: Any = _script(_ENTER)(keys=[self._key, self._lock], args=args)
            if answer == 1:
                self._holds = True
                return
            if isinstance(answer, list):
                holder = bytes(answer[0])
                dead = "" if processes.is_alive(holder.partition(b" ")[0].decode(errors="replace")) else holder
                if dead:
                    continue
            else:
                self.found = _read(answer)
                if self.found is not None:
                    return
                logger.error("kept_answer_unusable")
                redis_client().unlink(self._key)
                continue
            with waiting():
                if cancelled.wait(pause):
                    raise CallCancelled
            pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)

    def keep(self, answer: dict[str, Any]) -> None:
        """Cache an answer for the waiting requests and later ones."""
        if not settings.AI_CACHE_SECONDS:
            return
        now, index = timezone.now().timestamp(), _index(self._user_id)
        try:
            pipeline = redis_client().pipeline()
            pipeline.setex(self._key, settings.AI_CACHE_SECONDS, json.dumps(answer))
            pipeline.zadd(index, {self._key: now + settings.AI_CACHE_SECONDS})
            pipeline.zremrangebyscore(index, 0, now)
            # The expiry is never shortened: answers that were cached under a longer AI_CACHE_SECONDS must be found.
            pipeline.expire(index, settings.AI_CACHE_SECONDS, nx=True)
            pipeline.expire(index, settings.AI_CACHE_SECONDS, gt=True)
            pipeline.execute()
            # Deleting a user first deactivates the user and then forgets the answers, so one of the two checks wins.
            if not _is_active(self._user_id):
                _forget(self._user_id)
        except RedisError as error:
            logger.warning("answer_not_kept", reason=type(error).__name__)
            if is_foreign(error):
                drop_foreign("zset", index)
                redis_client().unlink(self._key)  # `_forget` deletes only the keys in the index

    def leave(self) -> None:
        if not self._holds:
            return
        try:
            _script(_LEAVE)(keys=[self._lock], args=[self._name])
        except RedisError as error:
            logger.warning("cache_line_not_left", reason=type(error).__name__)


@contextmanager
def place_in_line(user_id: int, parts: list[Any], cancelled: threading.Event) -> Iterator[QueuePlace]:
    """A place whose `found` is the cached answer, or None if the caller has to make it.

    `parts` is everything that the answer depends on. Raises CallCancelled if `cancelled` is set during the wait.
    """
    place = QueuePlace(user_id, parts)
    if settings.AI_CACHE_SECONDS:
        try:
            place.wait(cancelled)
        except RedisError as error:
            logger.warning("cache_passed_by", reason=type(error).__name__)
    try:
        yield place
    finally:
        place.leave()


def forget_answers(user_id: int) -> None:
    """Delete all cached answers of a user. Raises StoreUnavailable."""
    try:
        _forget(user_id)
    except RedisError as error:
        raise StoreUnavailable from error


def _forget(user_id: int) -> None:
    index = _index(user_id)
    drop_foreign("zset", index)
    own = f"{index}:".encode()
    while keys := cast("list[bytes]", redis_client().zrange(index, 0, FORGOTTEN_AT_ONCE - 1)):
        pipeline = redis_client().pipeline()
        for key in keys:
            if key.startswith(own):  # never delete other keys, whatever the index contains
                pipeline.delete(key)
        pipeline.zrem(index, *keys)
        pipeline.execute()


def _read(kept: bytes) -> dict[str, Any] | None:
    """An answer as it was given to `QueuePlace.keep`; None for anything else."""
    try:
        answer: Any = json.loads(kept) if len(kept) <= MAX_KEPT_BYTES else None
        match answer:
            case {"text": str(), "model": str(), "finish_reason": str() | None} if len(answer) == 3:
                json.dumps(answer, ensure_ascii=False).encode()
                return cast("dict[str, Any]", answer)
    except (TypeError, ValueError, RecursionError):
        pass
    return None


def _is_active(user_id: int) -> bool:
    try:
        return User.objects.filter(pk=user_id, is_active=True).exists()
    except OperationalError:
        return False


def _index(user_id: int) -> str:
    """The key of the sorted set of a user's keys by expiry time; also the prefix of each of these keys.

    All keys of a user are in one slot of a Redis Cluster, because scripts and transactions use several of them.
    """
    return f"edgechat:ai:cache:{{{user_id}}}"
