"""The replies that other processes write: copies of their texts, read from Redis.

One thread reads all followed replies, so a thousand open streams need one connection. While Redis is unavailable,
followers poll MongoDB more often. The thread also delivers the notices of all processes (`edgechat.http.notices`).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import structlog

from conversations.replies.live import BLOCK_MILLISECONDS, COALESCE_SECONDS, RETRY_SECONDS, STREAM_SECONDS, stream_key
from edgechat.http import notices
from edgechat.processes.process_name import process_name
from edgechat.processes.text_feed import TextFeed
from edgechat.stores.redis import (
    RedisError,
    blocking_redis_client,
    drop_foreign,
    is_ahead,
    is_foreign,
    is_full,
    redis_client,
)

logger = structlog.get_logger(__name__)

# The maximum number of entries of each stream in one read.
ENTRIES_PER_READ = 1000
# A reader is unhealthy if its last read is older than this.
UNREAD_SECONDS = 5.0
# Larger than any reply needs; a position (`conversations.replies.follow`) has no more digits than these.
MAX_ATTEMPT = 1_000_000
MAX_CHARACTERS = 2_000_000


@dataclass(frozen=True)
class Piece:
    """A piece of an attempt's text, and its offset in characters; `text` is None for the attempt's end."""

    attempt: int
    offset: int
    text: str | None


def read_piece(fields: dict[bytes, bytes]) -> Piece | None:
    """The piece of an entry; None if it is not valid, because other clients of Redis can write entries."""
    try:
        attempt = int(fields[b"a"])
        piece = Piece(attempt, 0, None) if b"e" in fields else Piece(attempt, int(fields[b"o"]), fields[b"t"].decode())
    except (KeyError, TypeError, ValueError):
        return None
    fits = 0 < attempt <= MAX_ATTEMPT and piece.offset >= 0 and piece.offset + len(piece.text or "") <= MAX_CHARACTERS
    return piece if fits else None


class _Followed:
    """A reply that another process writes: a copy of its feed, and the number of followers in this process."""

    def __init__(self) -> None:
        self.feed = TextFeed(epoch=0)
        self.last_id = "0"
        self.followers = 0


class _Reader:
    def __init__(self) -> None:
        self._followed: dict[str, _Followed] = {}
        self._lock = threading.Lock()
        self._notices_id: str | None = None
        self._wake_id = "0"
        self.healthy = True
        self.read_at = 0.0

    def follow(self, message_id: str) -> TextFeed:
        with self._lock:
            followed = self._followed.setdefault(message_id, _Followed())
            followed.followers += 1
        try:
            # The reading thread is blocked in a read that does not include the new stream.
            redis_client().xadd(self._wake_key(), {"w": 1}, maxlen=1)
            redis_client().expire(self._wake_key(), STREAM_SECONDS)
        except RedisError as error:
            if is_full(error):
                drop_foreign("none", self._wake_key())
        return followed.feed

    def unfollow(self, message_id: str) -> None:
        with self._lock:
            followed = self._followed[message_id]
            followed.followers -= 1
            if not followed.followers:
                del self._followed[message_id]

    def round(self) -> None:
        """Read the notices and the streams of all followed replies once; blocks for at most a second."""
        with self._lock:
            streams = {stream_key(mid): followed.last_id for mid, followed in self._followed.items()}
        streams[self._wake_key()] = self._wake_id
        try:
            if self._notices_id is None:
                self._notices_id = notices.newest_id()
            streams[notices.KEY] = self._notices_id
            answer = blocking_redis_client().xread(
                streams,  # type: ignore[arg-type]
                count=ENTRIES_PER_READ,
                block=BLOCK_MILLISECONDS,
            )
        except RedisError as error:
            if self.healthy:
                logger.warning("reply_reader_waits", reason=repr(error))
            self.healthy = False
            if is_foreign(error):
                drop_foreign("stream", *streams, notices.KEY)
            time.sleep(RETRY_SECONDS)
            return
        self.healthy = True
        self.read_at = time.monotonic()
        for key, entries in _entries_by_stream(answer):
            self._hand_on(key.decode(), entries)
        if answer:
            time.sleep(COALESCE_SECONDS)

    def _hand_on(self, name: str, entries: list[Any]) -> None:
        """Process the entries of one stream."""
        if name == notices.KEY:
            self._notices_id = notices.deliver(entries)
        elif name == self._wake_key():
            self._wake_id = _read_up_to(name, entries)
        else:
            self._follow_on(name.removeprefix(stream_key("")), entries)

    def _follow_on(self, message_id: str, entries: list[Any]) -> None:
        with self._lock:
            followed = self._followed.get(message_id)
        if followed is None:
            return
        followed.last_id = _read_up_to(stream_key(message_id), entries)
        for entry_id, fields in entries:
            piece = read_piece(fields)
            if piece is None:
                # An invalid entry of one reply must not stop the reading of the others.
                logger.error("piece_not_understood", message_id=message_id, entry=entry_id.decode())
            else:
                self._apply(followed.feed, piece)

    @staticmethod
    def _apply(feed: TextFeed, piece: Piece) -> None:
        attempt, state = piece.attempt, feed.state
        if attempt < state.epoch:
            return  # from a process that had lost its lease
        known = state.text if attempt == state.epoch else ""
        if piece.text is None:
            feed.put(attempt, known)
            feed.end()
        # A piece beyond the known text follows a gap: Redis lost the pieces before it. MongoDB has their text.
        elif piece.offset <= len(known):
            feed.put(attempt, known[: piece.offset] + piece.text)

    @staticmethod
    def _wake_key() -> str:
        return f"edgechat:replies:wake:{notices.SLOT}:{process_name()}"


def _read_up_to(key: str, entries: list[Any]) -> str:
    """The id after which the next read starts. A stream whose last id is in the future is deleted."""
    newest: bytes = entries[-1][0]
    if is_ahead(newest):
        logger.error("reply_stream_restarted", key=key)
        drop_foreign("none", key)
        return "0"
    return newest.decode()


def _entries_by_stream(answer: Any) -> list[tuple[bytes, list[Any]]]:
    """XREAD's answer as (key, entries), for both protocol versions."""
    if not answer:
        return []
    if isinstance(answer, dict):
        return [(key, each[0] if each and isinstance(each[0], list) else each) for key, each in answer.items()]
    return [(key, entries) for key, entries in answer]


_reader = _Reader()


def read_published() -> None:
    """Read the entries of other processes; called in a loop."""
    _reader.round()


def follow(message_id: str) -> TextFeed:
    """A feed of a reply that another process writes. Release it with `unfollow`. Its epochs are attempts."""
    return _reader.follow(message_id)


def unfollow(message_id: str) -> None:
    _reader.unfollow(message_id)


def is_healthy() -> bool:
    """Whether feeds are being read; if not, followers must poll MongoDB instead."""
    return _reader.healthy and time.monotonic() - _reader.read_at < UNREAD_SECONDS
