"""Following a reply to its end, as an answer or as server-sent events, in any process."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from accounts.open_calls.registry import HungUp, OpenCall
from conversations import transcript_repository as transcripts
from conversations.documents import Exchange, MessageDocument, ReplyKey
from conversations.queries import ConversationNotFound
from conversations.replies import remote
from conversations.replies.failure import failure_of
from conversations.replies.live import LiveReply, find_running
from conversations.replies.shutdown import ShuttingDown, is_shutting_down
from conversations.serializers import RestartOutput, exchange_body, message_body
from edgechat.errors import ApiError, StoreUnavailable, error_body
from edgechat.http.event_stream import PING, PING_SECONDS, DeltaOutput, event
from edgechat.logs import current_request_id
from edgechat.processes.text_feed import FeedState, TextFeed
from edgechat.processes.threads import waiting
from edgechat.stores import store_time

# The interval at which MongoDB is polled for the end of another process's reply; long, because Redis reports it too.
LOOK_SECONDS = 5.0
LOOK_SECONDS_WITHOUT_REDIS = 0.5
AFTER_HANDOVER_SECONDS = 0.1
# About the duration of a reservation.
CLAIM_SECONDS = 0.05
# The longest time that another process's pieces need to arrive here, if they arrive at all.
CATCH_UP_SECONDS = 2.0
# How long MongoDB may be away at the end of a reply before the caller that waits for it is answered 503, and how often
# that caller checks whether it is away, and for how long.
AWAY_SECONDS = 3.5
CHECK_SECONDS, AWAY_LOOK_SECONDS = 2.0, 0.5
# Greater than every attempt: a follower at this position only receives the end.
_BEYOND_ALL = 2**31


def find_exchange(key: ReplyKey) -> Exchange:
    """Both messages in their current state. Raises ConversationNotFound if they were deleted."""
    messages = transcripts.find_messages(key.owner_id, key.conversation_id, (key.seq - 1, key.seq))
    if len(messages) < 2:
        raise ConversationNotFound
    return Exchange(*messages)


def wait_for_claim(call: OpenCall, seconds: float = CLAIM_SECONDS) -> float:
    """Wait `seconds` until a claim without messages has them, or is undone.

    Returns the seconds of the next wait, which grow because the claim's process may be dead. Raises what ended the
    call, and StoreUnavailable after the request's deadline: a take-over is later than that.
    """
    call.raise_if_over()
    if store_time.is_over():
        raise StoreUnavailable
    with waiting(counted=True):
        time.sleep(seconds)
    return min(1.5 * seconds, LOOK_SECONDS_WITHOUT_REDIS)


def wait_for_reply(key: ReplyKey, *, call: OpenCall) -> Exchange:
    """Both messages, once the reply has ended.

    Raises ConversationNotFound if deleted, what ended the call, and StoreUnavailable if MongoDB has been away for
    AWAY_SECONDS and the end cannot be stored or read; the reply continues.
    """
    # As long as any request reads from MongoDB: a shorter limit would take a slow MongoDB for one that is away.
    longest = min(store_time.request_seconds(), store_time.BACKGROUND_SECONDS)
    with waiting(), closing(Follower(key, call, look_seconds=CHECK_SECONDS)) as follower:
        while True:
            timeout = AWAY_LOOK_SECONDS if follower.away_seconds() else CHECK_SECONDS
            with store_time.at_most(longest):
                found = follower.next(_BEYOND_ALL, 0, timeout=timeout)
            if isinstance(found, Exchange):
                return found
            if is_shutting_down():
                raise ShuttingDown
            if follower.away_seconds() > AWAY_SECONDS:
                raise StoreUnavailable


class Follower:
    """One follower's view: this process's own feed while it writes the reply, else a copy of the writer's feed."""

    def __init__(self, key: ReplyKey, call: OpenCall, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._key = key
        self._call = call
        self._longest_pause = look_seconds
        self._live: LiveReply | None = None
        self._copy: TextFeed | None = None
        self._look_at = 0.0
        self._away_since: float | None = None
        self._started_at = time.monotonic()
        self._pause = threading.Event()

    def next(self, attempt: int, offset: int, *, timeout: float) -> Exchange | FeedState:
        """Wait for text after `offset` in an attempt; the exchange once the reply has ended.

        After `timeout` seconds the state is returned unchanged. Raises ConversationNotFound if the reply was deleted,
        and what ended the call.
        """
        self._call.raise_if_over()
        if self._live is None or self._live.lease_lost:
            self._live = find_running(self._key.message_id)
        live = self._live
        if live is not None:
            feed = live.feed
        else:
            feed = self._follow()
            if time.monotonic() >= self._look_at:
                exchange = self._look()
                self._look_at = time.monotonic() + self._look_seconds()
                if exchange is not None:
                    if exchange.model_message["status"] != "generating":
                        return exchange
                    # The snapshot may contain text that Redis lost.
                    feed.put(exchange.model_message["attempt"], exchange.model_message["content"])
            timeout = min(timeout, max(0.0, self._look_at - time.monotonic()))
        with self._call.waking(feed.wake):
            state = feed.wait_beyond(attempt, offset, timeout=timeout, unless=self._call.is_over)
        self._call.raise_if_over()
        if state.ended:
            if live is not None and live.stored:
                return live.exchange
            self._live = None
            exchange = self._look()
            if exchange is not None and exchange.model_message["status"] != "generating":
                return exchange
            # The reply is handed over: the process that takes it over starts a later attempt.
            self._pause.wait(AFTER_HANDOVER_SECONDS)
        return state

    def has_caught_up(self) -> bool:
        """Whether all published text is known: always in the writer's process, in others after CATCH_UP_SECONDS."""
        return self._live is not None or time.monotonic() >= self._started_at + CATCH_UP_SECONDS

    def away_seconds(self) -> float:
        """For how long MongoDB has kept the reply's end from being stored, or this follower from reading it."""
        since = self._away_since if self._live is None else self._live.unstored_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        if self._copy is not None:
            remote.unfollow(self._key.message_id)
            self._copy = None

    def _follow(self) -> TextFeed:
        if self._copy is None:
            self._copy = remote.follow(self._key.message_id)
        return self._copy

    def _look(self) -> Exchange | None:
        """The stored exchange; None while MongoDB does not answer."""
        began = time.monotonic()
        try:
            exchange = find_exchange(self._key)
        except StoreUnavailable:
            self._away_since = self._away_since or began
            return None
        self._away_since = None
        return exchange

    def _look_seconds(self) -> float:
        if self._away_since is not None:
            return AWAY_LOOK_SECONDS
        return self._longest_pause if remote.is_healthy() else LOOK_SECONDS_WITHOUT_REDIS


@dataclass(frozen=True)
class Position:
    """A follower's position: the attempt, and the number of characters read; `ended` after the final event."""

    attempt: int
    offset: int
    ended: bool = False

    def __str__(self) -> str:
        return f"{self.attempt}-{'end' if self.ended else self.offset}"

    def is_ahead_of(self, attempt: int, text: str) -> bool:
        return self.attempt > attempt or (self.attempt == attempt and (self.ended or self.offset > len(text)))


def parse_position(text: str | None) -> Position | None:
    """The position in a Last-Event-ID; None if it is missing or not valid, in which case all events are sent."""
    match = re.fullmatch(r"(\d{1,9})-(\d{1,9}|end)", text or "")
    if match is None:
        return None
    ended = match[2] == "end"
    return Position(int(match[1]), 0 if ended else int(match[2]), ended)


def opening_exchange(key: ReplyKey) -> Exchange:
    """Both messages at the start of a reply; from MongoDB if another process writes the reply, or if it has ended."""
    live = find_running(key.message_id)
    return find_exchange(key) if live is None else live.exchange


def stream_reply(
    key: ReplyKey, *, call: OpenCall, since: Position | None = None, first: Exchange | None = None
) -> Iterator[bytes]:
    """The reply's events: those after `since`, or all; `first` is sent as the opening `message` event.

    Ends with `done` or `error`; `error` also reports what ended the call. The connection may be closed at any point:
    closing it does not affect the reply.
    """
    position = since or Position(0, 0)
    if first is not None:
        position = Position(first.model_message["attempt"], 0)
        yield event("message", exchange_body(_without_text(first)), event_id=str(position))
    pinged = time.monotonic()
    looked = since is None
    with closing(Follower(key, call)) as follower:
        while not is_shutting_down():
            timeout = max(0.0, pinged + PING_SECONDS - time.monotonic())
            try:
                found = follower.next(
                    position.attempt,
                    position.offset,
                    timeout=timeout if looked else min(timeout, LOOK_SECONDS_WITHOUT_REDIS),
                )
            except HungUp:
                return
            except ApiError as error:
                # Without an id, so that a client that reconnects continues at its last position.
                yield event("error", error_body(error, current_request_id()))
                return
            if isinstance(found, Exchange):
                yield from replay_ended(found.model_message, position)
                return
            news: list[bytes] = []
            if not looked and position.is_ahead_of(found.epoch, found.text):
                if not follower.has_caught_up():
                    continue
                # The client's position is beyond the known text: continuing would leave a gap.
                position = Position(found.epoch, 0)
                news.append(event("restart", RestartOutput(), event_id=str(position)))
            looked = True
            more, position = _news(found, position)
            news += more
            if news:
                yield b"".join(news)
                pinged = time.monotonic()
            if time.monotonic() - pinged >= PING_SECONDS:
                yield PING
                pinged = time.monotonic()


def replay_ended(message: MessageDocument, since: Position) -> Iterator[bytes]:
    """The remaining events of a reply that has ended, from the stored message."""
    attempt, text = message["attempt"], message["content"]
    position = since
    if since.is_ahead_of(attempt, text):
        # The position is beyond the stored text: a killed process had sent text that it did not store.
        position = Position(0, 0)
        yield event("restart", RestartOutput(), event_id=str(Position(attempt, 0)))
    news, _ = _news(FeedState(attempt, text, ended=True), position)
    yield from news
    end = str(Position(attempt, 0, ended=True))
    if message["status"] == "failed" and not text:
        yield event("error", error_body(failure_of(message), current_request_id()), event_id=end)
    else:
        yield event("done", message_body(message), event_id=end)


def _without_text(exchange: Exchange) -> Exchange:
    """The exchange with an empty running reply, whatever its state; the text follows as deltas."""
    started: dict[str, Any] = {"content": "", "status": "generating", "finish_reason": None, "usage": None}
    return Exchange(exchange.user_message, cast(MessageDocument, {**exchange.model_message, **started}))


def _news(state: FeedState, position: Position) -> tuple[list[bytes], Position]:
    """The events that bring a follower from `position` to this state, and its new position."""
    news: list[bytes] = []
    if state.epoch > position.attempt:
        restarted = position.attempt > 0
        position = Position(state.epoch, 0)
        if restarted:
            news.append(event("restart", RestartOutput(), event_id=str(position)))
    if state.epoch == position.attempt and len(state.text) > position.offset:
        text = state.text[position.offset :]
        position = Position(position.attempt, len(state.text))
        news.append(event("delta", DeltaOutput(text=text), event_id=str(position)))
    return news, position
