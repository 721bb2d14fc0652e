"""The replies that this process is writing, and their publication to other processes through Redis.

Each reply has a stream of pieces, with their attempt and their offset in characters. One thread publishes all replies,
so a thousand open streams need one connection. Redis is only the fast path: followers also poll MongoDB.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import structlog
from django.utils import timezone

from accounts.open_calls.slots import Slot
from ai.gemini import CallControl
from conversations.documents import Exchange, ReplyDocument
from edgechat.http import notices
from edgechat.metrics import catalog
from edgechat.processes.text_feed import TextFeed
from edgechat.stores.redis import RedisError, drop_foreign, is_foreign, is_full, redis_client

logger = structlog.get_logger(__name__)

# Long enough for a phone to reconnect during the reply and for a while after. After that, the stored message answers.
STREAM_SECONDS = 3600
# Pieces that arrive within this time share an entry. This is also the delay added for followers in other processes.
COALESCE_SECONDS = 0.02
BLOCK_MILLISECONDS = 1000
RETRY_SECONDS = 1.0


class LiveReply:
    """One running attempt at a reply, shared by the thread that writes it and the threads that follow it."""

    def __init__(
        self,
        *,
        owner_id: int,
        conversation_id: str,
        reply: ReplyDocument,
        exchange: Exchange,
        control: CallControl,
        slot: Slot,
    ) -> None:
        self.owner_id = owner_id
        self.conversation_id = conversation_id
        self.message_id = reply["message_id"]
        self.attempt = reply["attempt"]
        self.worker = reply["worker"]
        self._started_at = reply["started_at"]
        self.control = control
        self.slot = slot
        # Both messages as this process stored them; their final state once `stored` is true.
        self.exchange = exchange
        self.stored = False
        # Since when MongoDB has not stored snapshots, and, once the reply has ended, has not stored the end.
        self.away_since: float | None = None
        self.unstored_since: float | None = None
        self.feed = TextFeed(epoch=self.attempt)
        # Another process takes the reply over: this attempt must not write any more.
        self.lease_lost = False
        # The number of characters published to Redis; used by the publishing thread only.
        self.published_offset = 0
        # Redis no longer has the stream: the conversation was deleted, or Redis lost it. The writer finds out which.
        self.stream_lost = False
        # The conversation was deleted: no text of the reply may remain.
        self.erased = False

    @property
    def text(self) -> str:
        return self.feed.state.text

    @property
    def ended(self) -> bool:
        return self.feed.state.ended

    def append(self, text: str) -> None:
        if text and not self.text:
            # With the attempts of processes that died.
            catalog.reply_first_text_seconds.observe((timezone.now() - self._started_at).total_seconds())
        self.feed.append(text)

    def erase(self) -> None:
        self.erased = True
        self.control.cancel()

    def lose_lease(self) -> None:
        self.lease_lost = True
        self.control.cancel()


_running: dict[str, LiveReply] = {}


def add_running(reply: LiveReply) -> None:
    _running[reply.message_id] = reply
    catalog.replies_running.set(len(_running))


def remove_running(reply: LiveReply) -> None:
    if _running.get(reply.message_id) is reply:
        del _running[reply.message_id]
        catalog.replies_running.set(len(_running))


def find_running(message_id: str) -> LiveReply | None:
    """The reply if this process is writing it, else None."""
    reply = _running.get(message_id)
    return None if reply is None or reply.lease_lost else reply


def is_running(message_id: str) -> bool:
    """Whether a thread of this process writes the reply, also after it has lost its lease."""
    return message_id in _running


def all_running() -> list[LiveReply]:
    return list(_running.values())


def stream_key(message_id: str) -> str:
    # One command reads all followed streams, so their keys share one slot of a Redis Cluster.
    return f"edgechat:reply:{notices.SLOT}:{message_id}"


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
        # A short reply is published completely by one round.
        time.sleep(COALESCE_SECONDS)
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
            answered = [next(answers) for _ in each.commands]
            refused = next((answer for answer in answered if isinstance(answer, RedisError)), None)
            if refused is not None:
                self._look_into(each.reply, refused)
                continue
            each.reply.published_offset = each.offset
            if None in answered:
                each.reply.stream_lost = True

    @staticmethod
    def _look_into(reply: LiveReply, refused: RedisError) -> None:
        """Handle entries that Redis refused. The next piece repeats them, in a new stream if necessary."""
        logger.warning("reply_refused_by_redis", message_id=reply.message_id, reason=str(refused))
        if is_foreign(refused) or is_full(refused):
            drop_foreign("none", stream_key(reply.message_id))
            reply.stream_lost = True


@dataclass
class _Entries:
    """The commands that publish a reply, and the offset in characters that its stream reaches with them."""

    reply: LiveReply
    commands: list[tuple[Any, ...]]
    offset: int


def _entries_of(reply: LiveReply) -> _Entries:
    state, key, published = reply.feed.state, stream_key(reply.message_id), reply.published_offset
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
    if published == 0 or state.ended:
        # The stream outlives the longest reply, so its other pieces need not prolong it.
        commands.append(("EXPIRE", key, STREAM_SECONDS))
    return _Entries(reply, commands, len(state.text))


_publisher = _Publisher()


def publish(reply: LiveReply) -> None:
    """Publish the current state of the reply's feed to other processes. Returns immediately and never raises."""
    _publisher.mark(reply)


def publish_marked() -> None:
    """Publish the marked replies; called in a loop."""
    _publisher.round()


def forget(message_ids: list[str]) -> None:
    """Delete the streams of these replies. Raises RedisError."""
    redis_client().unlink(*map(stream_key, message_ids))
