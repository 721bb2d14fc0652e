"""Caches answers in Redis for a time, for the user who got them. One request at a time makes each answer.

A key contains a hash of the prompt, never the prompt. Without Redis every request asks the model.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import structlog
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from accounts.models import User
from ai.gemini import CallCancelled
from edgechat.errors import StoreUnavailable
from edgechat.processes.threads import waiting
from edgechat.stores.redis import LockNotOwnedError, RedisError, drop_foreign, is_foreign, redis_client
from usage import processes

logger = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.25
KEYS_PER_BATCH = 1000
# The answers that expire first make room for new ones.
MAX_KEPT_PER_USER = 1000
# For one answer as ASCII JSON; larger than what an answer of MAX_ANSWER_BYTES (ai.calls.metered) can become.
MAX_KEPT_BYTES = 8_000_000


class CachedAnswer:
    """The cached answer to a prompt in `answer`, or None."""

    def __init__(self, user_id: int, parts: list[Any], *, seconds: int) -> None:
        self.answer: dict[str, Any] | None = None
        self._user_id = user_id
        self._seconds = seconds
        self._key = f"{_index(user_id)}:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"
        self._lock = redis_client().lock(f"{self._key}:lock", timeout=settings.AI_TIMEOUT_SECONDS, thread_local=False)

    def wait(self, cancelled: threading.Event) -> None:
        """Wait until the answer is cached or this request has locked it and may ask the model.

        The lock names the process of its holder: no request waits for a dead one. A request that fails releases the
        lock, and the next one tries. A request that has waited for AI_TIMEOUT_SECONDS asks the model without the lock:
        otherwise, while the model hangs, the last of many requests would wait for the calls of all the others.

        Raises CallCancelled, and OperationalError if PostgreSQL does not answer.
        """
        deadline = time.monotonic() + settings.AI_TIMEOUT_SECONDS
        pause = FIRST_PAUSE_SECONDS
        token = f"{processes.this_process()} {uuid.uuid4().hex}"
        while time.monotonic() < deadline:
            self.answer = self._read()
            if self.answer is not None:
                return
            if self._lock.acquire(blocking=False, token=token):
                self.answer = self._read()  # it may have been stored since the first look
                return
            if self._drop_dead_lock():
                continue
            with waiting():
                if cancelled.wait(pause):
                    raise CallCancelled
            pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)

    def store(self, answer: dict[str, Any]) -> None:
        """Cache an answer for the waiting requests and later ones."""
        now, index = timezone.now().timestamp(), _index(self._user_id)
        try:
            pipeline = redis_client().pipeline()
            pipeline.setex(self._key, self._seconds, json.dumps(answer))
            pipeline.zadd(index, {self._key: now + self._seconds})
            pipeline.zremrangebyscore(index, 0, now)
            # The expiry is never shortened: answers that were cached for longer must be found.
            pipeline.expire(index, self._seconds, nx=True)
            pipeline.expire(index, self._seconds, gt=True)
            pipeline.zrange(index, 0, -MAX_KEPT_PER_USER - 1)
            if surplus := pipeline.execute()[-1]:
                redis_client().unlink(*surplus)
                redis_client().zrem(index, *surplus)
            # Deleting a user first deactivates the user and then forgets the answers, so one of the two checks wins.
            if not _is_active(self._user_id):
                _forget(self._user_id)
        except RedisError as error:
            logger.warning("answer_not_cached", reason=type(error).__name__)
            if is_foreign(error):
                drop_foreign("zset", index)
                redis_client().unlink(self._key)  # `_forget` deletes only the keys in the index

    def release(self) -> None:
        """Let the next request ask the model, if this one holds the lock."""
        if self._lock.local.token is not None:
            try:
                with suppress(LockNotOwnedError):  # it has expired
                    self._lock.release()
            except RedisError as error:
                logger.warning("cache_queue_not_left", reason=type(error).__name__)

    def _drop_dead_lock(self) -> bool:
        """Delete the lock of a dead process, or of another program. Whether there is no lock any more."""
        try:
            holder = cast("bytes | None", redis_client().get(self._lock.name))
            if holder is not None and processes.is_alive(holder.partition(b" ")[0].decode(errors="replace")):
                return False
            if holder is not None:
                with suppress(LockNotOwnedError):  # another request has deleted it
                    self._lock.do_release(holder)
        except RedisError as error:
            if not is_foreign(error):
                raise
            drop_foreign("string", str(self._lock.name))
        return True

    def _read(self) -> dict[str, Any] | None:
        """The answer as it was given to `store`. Anything else is deleted."""
        kept = cast("bytes | None", redis_client().get(self._key))
        if kept is None:
            return None
        try:
            answer: Any = json.loads(kept) if len(kept) <= MAX_KEPT_BYTES else None
            match answer:
                case {"text": str(), "model": str(), "finish_reason": str() | None} if len(answer) == 3:
                    json.dumps(answer, ensure_ascii=False).encode()
                    return cast("dict[str, Any]", answer)
        except (ValueError, RecursionError):
            pass
        logger.error("cached_answer_unusable")
        redis_client().unlink(self._key)
        return None


@contextmanager
def cached_answer(
    user_id: int, parts: list[Any], cancelled: threading.Event, *, seconds: int
) -> Iterator[CachedAnswer]:
    """The cached answer; without one, the caller has to make it. Other requests for the same answer wait meanwhile.

    `parts` is everything that the answer depends on, and `seconds` is how long an answer is kept. Raises CallCancelled
    if `cancelled` is set during the wait.
    """
    cached = CachedAnswer(user_id, parts, seconds=seconds)
    try:
        try:
            cached.wait(cancelled)
        except RedisError as error:
            logger.warning("cache_bypassed", reason=type(error).__name__)
        yield cached
    finally:
        cached.release()


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
    while keys := cast("list[bytes]", redis_client().zrange(index, 0, KEYS_PER_BATCH - 1)):
        pipeline = redis_client().pipeline()
        for key in keys:
            if key.startswith(own):  # never delete other keys, whatever the index contains
                pipeline.delete(key)
        pipeline.zrem(index, *keys)
        pipeline.execute()


def _is_active(user_id: int) -> bool:
    try:
        return User.objects.filter(pk=user_id, is_active=True).exists()
    except OperationalError:
        return False


def _index(user_id: int) -> str:
    """The key of the sorted set of a user's keys by expiry time; also the prefix of each of these keys.

    All keys of a user are in one slot of a Redis Cluster, because transactions use several of them.
    """
    return f"edgechat:ai:cache:{{{user_id}}}"
