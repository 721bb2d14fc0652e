"""Short notices to every process, through one Redis stream, which one thread of each process reads.

Notices only save time: a process that misses one while Redis is down finds the change itself a little later. A notice
names its subject by a digest, because the stream must not hold deleted data.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from edgechat.processes.process_name import process_name
from edgechat.stores.redis import RedisError, ResponseError, drop_foreign, is_ahead, redis_client

logger = structlog.get_logger(__name__)

# One command reads the notices and the streams of replies, so their keys are in one slot of a cluster.
SLOT = "{edgechat:live}"
KEY = f"edgechat:notices:{SLOT}"
MAX_KEPT = 1000

Listener = Callable[[Sequence[str]], None]

_listeners: dict[str, list[Listener]] = {}


def listen(kind: str, listener: Listener) -> None:
    """Have `listener(digests)` called for each notice of this kind. It must neither wait for a store nor raise."""
    _listeners.setdefault(kind, []).append(listener)


@functools.lru_cache(maxsize=4096)
def digest(name: str) -> str:
    """The name under which listeners know a value."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def publish(kind: str, names: Sequence[str]) -> None:
    """Notify all processes; this one before the call returns. Never raises."""
    digests = [digest(name) for name in names]
    _call_listeners(kind, digests)
    entry = {"kind": kind, "digests": json.dumps(digests), "from": process_name()}
    try:
        redis_client().xadd(KEY, entry, maxlen=MAX_KEPT, approximate=True)  # type: ignore[arg-type]
    except RedisError as error:
        logger.warning("notice_not_published", kind=kind, reason=type(error).__name__)
        if isinstance(error, ResponseError):  # the key has another type, or its last id leaves no higher one
            drop_foreign("none", KEY)


def deliver(entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> str:
    """Pass on what the reading thread has read, except this process's own notices. Returns the id to read on from.

    Never raises.
    """
    for entry_id, fields in entries:
        try:
            if fields[b"from"].decode() != process_name():
                digests = [each for each in json.loads(fields[b"digests"]) if isinstance(each, str)]
                _call_listeners(fields[b"kind"].decode(), digests)
        except Exception:
            # An entry of another version or a damaged one must not stop the reading of the others.
            logger.exception("notice_unreadable", entry=entry_id.decode(errors="replace"))
    newest = entries[-1][0]
    if is_ahead(newest):
        logger.error("notices_restarted")
        drop_foreign("none", KEY)
        return "0"
    return newest.decode()


def newest_id() -> str:
    """The id of the stream's last entry, for a reader that starts.

    Reading from "$" each time would miss entries between reads. Raises RedisError.
    """
    drop_foreign("stream", KEY)
    newest: Any = redis_client().xrevrange(KEY, count=1)
    return str(newest[0][0].decode()) if newest else "0"


def _call_listeners(kind: str, digests: Sequence[str]) -> None:
    for listener in _listeners.get(kind, ()):
        listener(digests)
