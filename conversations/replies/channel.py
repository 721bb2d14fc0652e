"""Transport of running replies between processes, through Redis.

Each reply has a stream. Its writer publishes pieces with their attempt and their offset in characters.
In each process, one thread publishes all replies and one thread reads all followed replies, so a thousand open streams
need two connections. Redis is only the fast path: followers also poll MongoDB, and poll it more often while Redis is
unavailable.

The reading thread also delivers the notices of all processes (`edgechat.http.notices`), including stops.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from conversations.replies.live import LiveReply, all_running, find_running
from conversations.replies.pieces import Piece, read_piece
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

# Long enough for a phone to reconnect during the reply and for a while after. After that, the stored message answers.
STREAM_SECONDS = 3600
# Pieces that arrive within this time share an entry. This is also the delay added for followers in other processes.
COALESCE_SECONDS = 0.02
BLOCK_MILLISECONDS = 1000
RETRY_SECONDS = 1.0
# The maximum number of entries of each stream in one read.
READ_AT_ONCE = 1000
# A reader is unhealthy if its last read is older than this.
UNREAD_SECONDS = 5.0
STOP = "stop"


def _key(message_id: str) -> str:
    # One command reads all followed streams, so their keys share one slot of a Redis Cluster.
    return f"edgechat:reply:{notices.SLOT}:{message_id}"


# --- Publishing ------------------------------------------------------------------------------------------------------


class _Publisher:
    def __init__(self) -> None:
        self._waiting: dict[str, LiveReply] = {}
        self._wake = threading.Event()
        self._lock = threading.Lock()

    def mark(self, reply: LiveReply) -> None:
        with self._lock:
            self._waiting[reply.message_id] = reply
        self._wake.set()

    def round(self) -> None:
        """Publish the marked replies; wait up to a second for the first one."""
        if not self._wake.wait(BLOCK_MILLISECONDS / 1000):
            return
        self._wake.clear()
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        try:
            self._publish(list(waiting.values()))
        except RedisError as error:
            logger.warning("reply_not_published", reason=type(error).__name__, replies=len(waiting))
            self._put_back(waiting)
            time.sleep(RETRY_SECONDS)
        except BaseException:
            self._put_back(waiting)
            raise
        time.sleep(COALESCE_SECONDS)

    def _put_back(self, waiting: dict[str, LiveReply]) -> None:
        """Mark the replies again, except ended ones, whose followers read from MongoDB."""
        with self._lock:
            kept = {key: reply for key, reply in waiting.items() if reply.erased or not reply.ended}
            self._waiting = {**kept, **self._waiting}
        if kept:
            self._wake.set()

    def _publish(self, replies: list[LiveReply]) -> None:
        """Raise RedisError if Redis is unavailable. A refused entry of one reply does not affect the other replies."""
        pipeline = redis_client().pipeline(transaction=False)
        entries: list[_Entries] = []
        for reply in replies:
            try:
                entries.append(_entries_of(reply))
            except Exception:
                logger.exception("reply_not_published", message_id=reply.message_id)
        for each in entries:
            for command in each.commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        answers = iter(pipeline.execute(raise_on_error=False))
        for each in entries:
            told = [next(answers) for _ in each.commands]
            refused = next((answer for answer in told if isinstance(answer, RedisError)), None)
            if refused is not None:
                self._look_into(each.reply, refused)
                continue
            each.reply.published_offset = each.offset
            if None in told:
                each.reply.stream_lost = True

    @staticmethod
    def _look_into(reply: LiveReply, refused: RedisError) -> None:
        """Handle entries that Redis refused. The next piece repeats them, in a new stream if necessary."""
        logger.warning("reply_refused_by_redis", message_id=reply.message_id, reason=str(refused))
        if is_foreign(refused) or is_full(refused):
            drop_foreign("none", _key(reply.message_id))
            reply.stream_lost = True


@dataclass
class _Entries:
    """The commands that publish a reply, and the offset in characters that its stream reaches with them."""

    reply: LiveReply
    commands: list[tuple[Any, ...]]
    offset: int


def _entries_of(reply: LiveReply) -> _Entries:
    state, key, published = reply.feed.state, _key(reply.message_id), reply.published_offset
    if reply.erased:
        return _Entries(reply, [("UNLINK", key)], published)
    # Only the first piece creates the stream, so a deleted stream stays deleted.
    add = ("XADD", key, "NOMKSTREAM", "*") if published > 0 else ("XADD", key, "*")
    commands: list[tuple[Any, ...]] = []
    if len(state.text) > published:
        # A model may send half of a surrogate pair, which is not valid UTF-8.
        piece = state.text[published:].encode("utf-8", "replace")
        commands.append((*add, "a", state.epoch, "o", published, "t", piece))
    if state.ended and not reply.lease_lost:
        commands.append((*add, "a", state.epoch, "e", 1))
    commands.append(("EXPIRE", key, STREAM_SECONDS))
    return _Entries(reply, commands, len(state.text))


_publisher = _Publisher()


def publish(reply: LiveReply) -> None:
    """Publish the current state of the reply's feed to other processes. Returns immediately and never raises."""
    _publisher.mark(reply)


def forget(message_ids: list[str]) -> None:
    """Delete the streams of these replies. Raises RedisError."""
    redis_client().unlink(*map(_key, message_ids))


def request_stop(message_id: str, attempt: int) -> None:
    """Ask the process that writes this attempt at a reply to stop it; later attempts are not affected.

    Without Redis, the process finds the request at its next heartbeat.
    """
    live = find_running(message_id)
    if live is not None and live.attempt == attempt:
        live.control.cancel()
    else:
        notices.tell(STOP, [_attempt_name(message_id, attempt)])


def _attempt_name(message_id: str, attempt: int) -> str:
    return f"{message_id}:{attempt}"


# --- Following -------------------------------------------------------------------------------------------------------


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
            streams = {_key(mid): followed.last_id for mid, followed in self._followed.items()}
        streams[self._wake_key()] = self._wake_id
        try:
            if self._notices_id is None:
                self._notices_id = notices.newest_id()
            streams[notices.KEY] = self._notices_id
            answer = blocking_redis_client().xread(
                streams,  # type: ignore[arg-type]
                count=READ_AT_ONCE,
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
        for key, entries in _pairs(answer):
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
            self._follow_on(name.removeprefix(_key("")), entries)

    def _follow_on(self, message_id: str, entries: list[Any]) -> None:
        with self._lock:
            followed = self._followed.get(message_id)
        if followed is None:
            return
        followed.last_id = _read_up_to(_key(message_id), entries)
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
        logger.error("stream_begun_anew", key=key)
        drop_foreign("none", key)
        return "0"
    return newest.decode()


def _pairs(answer: Any) -> list[tuple[bytes, list[Any]]]:
    """XREAD's answer as (key, entries), for both protocol versions."""
    if not answer:
        return []
    if isinstance(answer, dict):
        return [(key, each[0] if each and isinstance(each[0], list) else each) for key, each in answer.items()]
    return [(key, entries) for key, entries in answer]


def hear_stop(digests: Sequence[str]) -> None:
    """Listen for STOP notices."""
    for live in all_running():
        if notices.digest(_attempt_name(live.message_id, live.attempt)) in digests and not live.lease_lost:
            live.control.cancel()


_reader = _Reader()


def publish_marked() -> None:
    """Publish the marked replies; called in a loop."""
    _publisher.round()


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
