"""Running replies between processes, through Redis.

Each reply has a stream to which its writer publishes pieces, each with the attempt and the offset in characters that
it belongs at. One thread publishes for all replies of a process and one reads for all that it follows, so a thousand
open streams need two connections. Redis is only the fast way: followers look at MongoDB too, now and then, and every
second when Redis is away.

The thread that reads hands on the notices of all processes too (`edgechat.notices`); stops are among them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import structlog

from conversations.replies.live import LiveReply, all_running, find_running
from conversations.replies.pieces import Piece, read_piece
from edgechat import notices
from edgechat.process_name import process_name
from edgechat.redis import RedisError, blocking_redis_client, drop_foreign, is_foreign, redis_client
from edgechat.text_feed import TextFeed
from edgechat.threads import start_thread

logger = structlog.get_logger(__name__)

# Long enough for a phone to come back while the reply runs, and a while after; later the stored message answers.
STREAM_SECONDS = 3600
# Pieces that come closer together than this share an entry. It is also what following from another process adds.
COALESCE_SECONDS = 0.02
BLOCK_MILLISECONDS = 1000
RETRY_SECONDS = 1.0
STOP = "stop"


def _key(message_id: str) -> str:
    return f"edgechat:reply:{message_id}"


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

    def run(self) -> None:
        """Publish for ever what was marked."""
        pause = threading.Event()
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            try:
                self._publish(list(waiting.values()))
            except RedisError as error:
                logger.warning("reply_not_published", reason=type(error).__name__, replies=len(waiting))
                with self._lock:
                    # What has ended meanwhile is answered from MongoDB; the others' text goes out with their next try.
                    kept = {key: reply for key, reply in waiting.items() if reply.erased or not reply.ended}
                    self._waiting = {**kept, **self._waiting}
                if kept:
                    self._wake.set()
                pause.wait(RETRY_SECONDS)
            except Exception:
                # Whatever it is: no reply may end the publishing of all others.
                logger.exception("replies_not_published", replies=len(waiting))
            pause.wait(COALESCE_SECONDS)

    @staticmethod
    def _publish(replies: list[LiveReply]) -> None:
        offsets: list[tuple[LiveReply, int]] = []
        added: list[LiveReply | None] = []
        pipeline = redis_client().pipeline(transaction=False)
        for reply in replies:
            state = reply.feed.state
            key = _key(reply.message_id)
            if reply.erased:
                pipeline.unlink(key)
                added.append(None)
                continue
            # What was deleted stays so: only the first piece makes the stream.
            goes_on = reply.published_offset > 0
            if len(state.text) > reply.published_offset:
                entry = {"a": state.epoch, "o": reply.published_offset, "t": state.text[reply.published_offset :]}
                pipeline.xadd(key, entry, nomkstream=goes_on)  # type: ignore[arg-type]
                added.append(reply)
            if state.ended and not reply.lease_lost:
                pipeline.xadd(key, {"a": state.epoch, "e": 1}, nomkstream=goes_on)
                added.append(reply)
            pipeline.expire(key, STREAM_SECONDS)
            added.append(None)
            offsets.append((reply, len(state.text)))
        answers = pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, RedisError) and not is_foreign(answer):
                raise answer
        for reply, offset in offsets:
            reply.published_offset = offset
        for added_to, answer in zip(added, answers, strict=True):
            if added_to is not None and isinstance(answer, RedisError):
                drop_foreign("stream", _key(added_to.message_id))
                added_to.stream_lost = True
            elif added_to is not None and answer is None:
                added_to.stream_lost = True


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
        self.healthy = True

    def follow(self, message_id: str) -> TextFeed:
        with self._lock:
            followed = self._followed.setdefault(message_id, _Followed())
            followed.followers += 1
        try:
            # The reading thread is blocked on the streams that it knew before.
            redis_client().xadd(self._wake_key(), {"w": 1}, maxlen=1)
            redis_client().expire(self._wake_key(), STREAM_SECONDS)
        except RedisError:
            pass
        return followed.feed

    def unfollow(self, message_id: str) -> None:
        with self._lock:
            followed = self._followed[message_id]
            followed.followers -= 1
            if not followed.followers:
                del self._followed[message_id]

    def run(self) -> None:
        """Read for ever: the notices, and the streams of all replies that are followed here."""
        pause = threading.Event()
        wake_id = "0"
        while True:
            with self._lock:
                streams = {_key(mid): followed.last_id for mid, followed in self._followed.items()}
            streams[self._wake_key()] = wake_id
            try:
                if self._notices_id is None:
                    self._notices_id = notices.newest_id()
                streams[notices.KEY] = self._notices_id
                answer = blocking_redis_client().xread(streams, block=BLOCK_MILLISECONDS)  # type: ignore[arg-type]
            except RedisError as error:
                if self.healthy:
                    logger.warning("reply_reader_waits", reason=type(error).__name__)
                self.healthy = False
                if is_foreign(error):
                    drop_foreign("stream", *streams)
                pause.wait(RETRY_SECONDS)
                continue
            self.healthy = True
            for key, entries in _pairs(answer):
                name = key.decode()
                if name == notices.KEY:
                    self._notices_id = notices.deliver(entries)
                elif name == self._wake_key():
                    wake_id = entries[-1][0].decode()
                else:
                    self._follow_on(name.removeprefix("edgechat:reply:"), entries)
            if answer:
                pause.wait(COALESCE_SECONDS)

    def _follow_on(self, message_id: str, entries: list[Any]) -> None:
        with self._lock:
            followed = self._followed.get(message_id)
        if followed is None:
            return
        for entry_id, fields in entries:
            followed.last_id = entry_id.decode()
            piece = read_piece(fields)
            if piece is None:
                # Whatever stands there: no reply may end the reading of all others.
                logger.error("piece_not_understood", message_id=message_id, entry=followed.last_id)
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
        return f"edgechat:replies:wake:{process_name()}"


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


def start() -> None:
    """Begin to publish and to read, once in a process that serves."""
    start_thread(_publisher.run)
    start_thread(_reader.run)


def follow(message_id: str) -> TextFeed:
    """A feed of a reply that another process writes; to be given back with `unfollow`. Its epochs are attempts."""
    return _reader.follow(message_id)


def unfollow(message_id: str) -> None:
    _reader.unfollow(message_id)


def is_healthy() -> bool:
    """Whether feeds come through; if not, followers have to look at MongoDB instead."""
    return _reader.healthy
