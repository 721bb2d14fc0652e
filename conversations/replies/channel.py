"""Running replies between processes, through Redis.

Each reply has a stream to which its writer publishes pieces, each with the attempt and the offset in characters that
it belongs at. One thread publishes for all replies of a process and one reads for all that it follows, so a thousand
open streams need two connections. Redis is only the fast way: followers look at MongoDB too, now and then, and every
second when Redis is away.

The thread that reads hands on the notices of all processes too (`edgechat.http.notices`); stops are among them.
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

# Long enough for a phone to come back while the reply runs, and a while after; later the stored message answers.
STREAM_SECONDS = 3600
# Pieces that come closer together than this share an entry. It is also what following from another process adds.
COALESCE_SECONDS = 0.02
BLOCK_MILLISECONDS = 1000
RETRY_SECONDS = 1.0
# Entries of each stream that one read brings.
READ_AT_ONCE = 1000
# A reader that has not come back for so long reads no more, for whatever reason.
UNREAD_SECONDS = 5.0
STOP = "stop"


def _key(message_id: str) -> str:
    # In one slot of a cluster, as all that is followed is read by one command.
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
        """Publish what is marked by now, or will be soon."""
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
        """What has ended meanwhile is answered from MongoDB; the others' text goes out with their next try."""
        with self._lock:
            kept = {key: reply for key, reply in waiting.items() if reply.erased or not reply.ended}
            self._waiting = {**kept, **self._waiting}
        if kept:
            self._wake.set()

    def _publish(self, replies: list[LiveReply]) -> None:
        """Raises RedisError where Redis is away. What it refuses of one reply keeps none of the others."""
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
        """Redis does not take a reply's entries. Its next piece brings them again, into a new stream if need be."""
        logger.warning("reply_refused_by_redis", message_id=reply.message_id, reason=str(refused))
        if is_foreign(refused) or is_full(refused):
            drop_foreign("none", _key(reply.message_id))
            reply.stream_lost = True


@dataclass
class _Entries:
    """What is to be published of a reply: the commands, and how far they bring its stream."""

    reply: LiveReply
    commands: list[tuple[Any, ...]]
    offset: int


def _entries_of(reply: LiveReply) -> _Entries:
    state, key, published = reply.feed.state, _key(reply.message_id), reply.published_offset
    if reply.erased:
        return _Entries(reply, [("UNLINK", key)], published)
    # What was deleted stays so: only the first piece makes the stream.
    add = ("XADD", key, "NOMKSTREAM", "*") if published > 0 else ("XADD", key, "*")
    commands: list[tuple[Any, ...]] = []
    if len(state.text) > published:
        # A model may send half of a surrogate pair, which is no UTF-8.
        piece = state.text[published:].encode("utf-8", "replace")
        commands.append((*add, "a", state.epoch, "o", published, "t", piece))
    if state.ended and not reply.lease_lost:
        commands.append((*add, "a", state.epoch, "e", 1))
    commands.append(("EXPIRE", key, STREAM_SECONDS))
    return _Entries(reply, commands, len(state.text))


_publisher = _Publisher()


def publish(reply: LiveReply) -> None:
    """Let other processes have what the reply's feed has now; returns at once, and never raises."""
    _publisher.mark(reply)


def forget(message_ids: list[str]) -> None:
    """Delete what is kept of these replies for followers. Raises RedisError."""
    redis_client().unlink(*map(_key, message_ids))


def request_stop(message_id: str, attempt: int) -> None:
    """Tell whichever process writes this attempt at a reply to stop it, and no later one.

    Without Redis it learns of it at its next heartbeat.
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
    """A reply that another process writes: a copy of its feed, and how many follow it here."""

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
            # The reading thread is blocked on the streams that it knew before.
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
        """Read once, for a second at most: the notices, and the streams of all replies that are followed here."""
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
        """What was read from one stream."""
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
                # Whatever stands there: no reply may end the reading of all others.
                logger.error("piece_not_understood", message_id=message_id, entry=entry_id.decode())
            else:
                self._apply(followed.feed, piece)

    @staticmethod
    def _apply(feed: TextFeed, piece: Piece) -> None:
        attempt, state = piece.attempt, feed.state
        if attempt < state.epoch:
            return  # the last words of a process that had lost its lease
        known = state.text if attempt == state.epoch else ""
        if piece.text is None:
            feed.put(attempt, known)
            feed.end()
        # A piece beyond what is known comes after a gap, when Redis had lost the pieces before: wait for MongoDB.
        elif piece.offset <= len(known):
            feed.put(attempt, known[: piece.offset] + piece.text)

    @staticmethod
    def _wake_key() -> str:
        return f"edgechat:replies:wake:{notices.SLOT}:{process_name()}"


def _read_up_to(key: str, entries: list[Any]) -> str:
    """The id to read a stream on from, behind these entries; if nothing could come behind them, it is deleted."""
    newest: bytes = entries[-1][0]
    if is_ahead(newest):
        logger.error("stream_begun_anew", key=key)
        drop_foreign("none", key)
        return "0"
    return newest.decode()


def _pairs(answer: Any) -> list[tuple[bytes, list[Any]]]:
    """XREAD's answer as (key, entries), whichever of its shapes the protocol version gives."""
    if not answer:
        return []
    if isinstance(answer, dict):
        return [(key, each[0] if each and isinstance(each[0], list) else each) for key, each in answer.items()]
    return [(key, entries) for key, entries in answer]


def hear_stop(digests: Sequence[str]) -> None:
    """The listener of STOP."""
    for live in all_running():
        if notices.digest(_attempt_name(live.message_id, live.attempt)) in digests and not live.lease_lost:
            live.control.cancel()


_reader = _Reader()


def publish_marked() -> None:
    """Publish what is marked; called over and over."""
    _publisher.round()


def read_published() -> None:
    """Read what others publish; called over and over."""
    _reader.round()


def follow(message_id: str) -> TextFeed:
    """A feed of a reply that another process writes; to be given back with `unfollow`. Its epochs are attempts."""
    return _reader.follow(message_id)


def unfollow(message_id: str) -> None:
    _reader.unfollow(message_id)


def is_healthy() -> bool:
    """Whether feeds come through; if not, followers have to look at MongoDB instead."""
    return _reader.healthy and time.monotonic() - _reader.read_at < UNREAD_SECONDS
