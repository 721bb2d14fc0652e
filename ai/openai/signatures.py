"""Keeps the model's signatures of its function calls, because OpenAI's protocol has no place for them.

Redis keeps them by the ids of the calls, for a day after a user's last call, and a bounded number for each user. A
signature that is lost costs the model its train of thought, not the conversation (`ai.gemini`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import cast

import structlog

from edgechat.errors import StoreUnavailable
from edgechat.stores.redis import RedisError, Script, redis_client

logger = structlog.get_logger(__name__)

KEEP_SECONDS = 24 * 3600
MAX_SIGNATURES = 500
MAX_SIGNATURE_BYTES = 32 * 1024

# KEYS: a user's hash of signatures and the list of their ids, oldest first. ARGV: the lifetime in seconds, the maximum
# number, then ids and signatures in turn. Keys of other types are replaced.
_KEEP = """
    if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
    if redis.call('TYPE', KEYS[2]).ok ~= 'list' then redis.call('DEL', KEYS[2]) end
    for index = 3, #ARGV, 2 do
        redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
        redis.call('RPUSH', KEYS[2], ARGV[index])
    end
    while redis.call('LLEN', KEYS[2]) > tonumber(ARGV[2]) do
        redis.call('HDEL', KEYS[1], redis.call('LPOP', KEYS[2]))
    end
    for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[1]) end
"""


def keep_signatures(user_id: int, signatures: Mapping[str, bytes]) -> None:
    """Keep signatures by the ids of their calls. Ones that are too long are left out."""
    kept = [part for pair in signatures.items() if len(pair[1]) <= MAX_SIGNATURE_BYTES for part in pair]
    if kept:
        try:
            _script()(keys=_keys(user_id), args=[KEEP_SECONDS, MAX_SIGNATURES, *kept])
        except RedisError as error:
            logger.warning("signatures_not_kept", reason=type(error).__name__)


def read_signatures(user_id: int, call_ids: Sequence[str]) -> dict[str, bytes]:
    """The signatures of these calls, as far as they are known."""
    wanted = [call_id for call_id in call_ids if call_id.isascii()]
    if not wanted:
        return {}
    try:
        found = cast("list[bytes | None]", redis_client().hmget(_keys(user_id)[0], wanted))
    except RedisError as error:
        logger.warning("signatures_not_read", reason=type(error).__name__)
        return {}
    return {call_id: signature for call_id, signature in zip(wanted, found, strict=True) if signature}


def forget_signatures(user_id: int) -> None:
    """Delete all signatures of a user. Raises StoreUnavailable."""
    try:
        redis_client().delete(*_keys(user_id))
    except RedisError as error:
        raise StoreUnavailable from error


def _keys(user_id: int) -> list[str]:
    return [f"edgechat:ai:signatures:{{{user_id}}}", f"edgechat:ai:signatures:{{{user_id}}}:ids"]


@functools.cache
def _script() -> Script:
    return redis_client().register_script(_KEEP)
