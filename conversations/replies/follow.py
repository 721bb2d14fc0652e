"""Following a reply, in the process that writes it or in another: waiting for its end, or reading it as it comes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from accounts.open_calls import HungUp, OpenCall
from ai.gemini import ModelError, ModelQuotaExceeded
from conversations.documents import MessageDocument
from conversations.replies import channel
from conversations.replies.exchange import Exchange, Pair, find_pair
from conversations.replies.live import LiveReply, find_running
from conversations.replies.shutdown import ShuttingDown, is_shutting_down
from conversations.serializers import message_body, pair_body
from edgechat.errors import ApiError, StoreUnavailable, error_body
from edgechat.event_stream import PING, PING_SECONDS, event
from edgechat.logs import current_request_id
from edgechat.text_feed import FeedState, TextFeed
from edgechat.threads import end_work, release_database

# How often MongoDB is asked whether a reply has ended that another process writes: rarely while Redis tells it anyway.
LOOK_SECONDS = 5.0
LOOK_SECONDS_WITHOUT_REDIS = 0.5
AFTER_HANDOVER_SECONDS = 0.1
# What another process tells of a reply needs this long at most to be here, if it comes at all.
CATCH_UP_SECONDS = 2.0


@dataclass(frozen=True)
class Position:
    """How far a follower has read: the attempt, and the characters of its text; `ended` after the final event."""

    attempt: int
    offset: int
    ended: bool = False

    def __str__(self) -> str:
        return f"{self.attempt}-{'end' if self.ended else self.offset}"

    def is_ahead_of(self, attempt: int, text: str) -> bool:
        return self.attempt > attempt or (self.attempt == attempt and (self.ended or self.offset > len(text)))


# Only the end is news to a follower who is here.
_BEYOND_ALL = Position(2**31, 0)


def parse_position(text: str | None) -> Position | None:
    """The position in a Last-Event-ID; None without one, or for one that is not ours: then everything is told."""
    match = re.fullmatch(r"(\d{1,9})-(\d{1,9}|end)", text or "")
    if match is None:
        return None
    ended = match[2] == "end"
    return Position(int(match[1]), 0 if ended else int(match[2]), ended)


def wait_for_reply(exchange: Exchange, *, call: OpenCall) -> Pair:
    """Both messages, once the reply has ended. ConversationNotFound if it was deleted, and what ended the call."""
    release_database()
    end_work()
    with closing(_Follower(exchange, call)) as follower:
        while True:
            found = follower.next(_BEYOND_ALL, timeout=LOOK_SECONDS)
            if isinstance(found, Pair):
                return found
            if is_shutting_down():
                raise ShuttingDown


def stream_reply(
    exchange: Exchange, *, call: OpenCall, since: Position | None = None, first: Pair | None = None
) -> Iterator[bytes]:
    """The reply's events: those after `since`, or all; `first` is told as the opening `message` event.

    Ends with `done` or `error`, the latter also for what ended the call. The connection may be closed at any point:
    nothing here belongs to the reply.
    """
    position = since or Position(0, 0)
    if first is not None:
        position = Position(first.model_message["attempt"], 0)
        yield event("message", pair_body(_as_begun(first)), event_id=str(position))
    pinged = time.monotonic()
    looked = since is None
    with closing(_Follower(exchange, call)) as follower:
        while not is_shutting_down():
            timeout = max(0.0, pinged + PING_SECONDS - time.monotonic())
            try:
                found = follower.next(position, timeout=timeout if looked else min(timeout, LOOK_SECONDS_WITHOUT_REDIS))
            except HungUp:
                return
            except ApiError as error:
                # Without an id: who may read it again goes on where they were.
                yield event("error", error_body(error, current_request_id()))
                return
            if isinstance(found, Pair):
                yield from replay_ended(found.model_message, position)
                return
            news: list[bytes] = []
            if not looked and position.is_ahead_of(found.epoch, found.text):
                if not follower.has_caught_up():
                    continue
                # More than was told so far: the text would go on behind a gap.
                position = Position(found.epoch, 0)
                news.append(event("restart", {}, event_id=str(position)))
            looked = True
            more, position = _news(found, position)
            news += more
            if news:
                yield b"".join(news)
                pinged = time.monotonic()
            if time.monotonic() - pinged >= PING_SECONDS:
                yield PING
                pinged = time.monotonic()


def _as_begun(pair: Pair) -> Pair:
    """Before its first words, whatever there is of the reply by now: its text comes in the deltas that follow."""
    begun: dict[str, Any] = {"content": "", "status": "generating", "finish_reason": None, "usage": None}
    return Pair(pair.user_message, cast(MessageDocument, {**pair.model_message, **begun}))


def replay_ended(message: MessageDocument, since: Position) -> Iterator[bytes]:
    """What is left to tell of a reply that has ended, from the stored message."""
    attempt, text = message["attempt"], message["content"]
    position = since
    if since.is_ahead_of(attempt, text):
        # More than is stored: a killed process had told it, and could not keep it.
        position = Position(0, 0)
        yield event("restart", {}, event_id=str(Position(attempt, 0)))
    news, _ = _news(FeedState(attempt, text, ended=True), position)
    yield from news
    end = str(Position(attempt, 0, ended=True))
    failure = failure_of(message)
    if failure is not None and not text:
        yield event("error", error_body(failure, current_request_id()), event_id=end)
    else:
        yield event("done", message_body(message), event_id=end)


def failure_of(message: MessageDocument) -> ApiError | None:
    """The error that a failed reply is answered with; None for one that did not fail."""
    if message["status"] != "failed":
        return None
    failure: dict[str, Any] = message["failure"] or {}
    retry_after = float(failure["retry_after"]) if failure.get("retry_after") else None
    match failure.get("code"):
        case ModelQuotaExceeded.code:
            return ModelQuotaExceeded(retry_after=retry_after)
        case StoreUnavailable.code:
            return StoreUnavailable()
        case ApiError.code:
            return ApiError()
        case _:
            return ModelError(retry_after=retry_after)


def _news(state: FeedState, position: Position) -> tuple[list[bytes], Position]:
    """What a follower at `position` has to be told of this state, and where it is then."""
    news: list[bytes] = []
    if state.epoch > position.attempt:
        restarted = position.attempt > 0
        position = Position(state.epoch, 0)
        if restarted:
            news.append(event("restart", {}, event_id=str(position)))
    if state.epoch == position.attempt and len(state.text) > position.offset:
        text = state.text[position.offset :]
        position = Position(position.attempt, len(state.text))
        news.append(event("delta", {"text": text}, event_id=str(position)))
    return news, position


def opening_pair(exchange: Exchange) -> Pair:
    """Both messages as they are when a reply begins; from MongoDB if another process writes it, or it has ended."""
    live = find_running(exchange.message_id)
    return find_pair(exchange) if live is None else live.pair


class _Follower:
    """One follower's view: this process's own feed while it writes the reply, else a copy of the writer's."""

    def __init__(self, exchange: Exchange, call: OpenCall) -> None:
        self._exchange = exchange
        self._call = call
        self._live: LiveReply | None = None
        self._copy: TextFeed | None = None
        self._look_at = 0.0
        self._begun_at = time.monotonic()
        self._pause = threading.Event()

    def next(self, position: Position, *, timeout: float) -> Pair | FeedState:
        """What is new behind `position`, or nothing new after `timeout` seconds; the pair once the reply has ended.

        Raises ConversationNotFound when it was deleted, and what ended the call.
        """
        self._call.raise_if_over()
        if self._live is None or self._live.lease_lost:
            self._live = find_running(self._exchange.message_id)
        live = self._live
        if live is not None:
            feed = live.feed
        else:
            feed = self._follow()
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + self._look_seconds()
                pair = self._look()
                if pair is not None:
                    if pair.model_message["status"] != "generating":
                        return pair
                    # What Redis lost, the snapshot may have.
                    feed.put(pair.model_message["attempt"], pair.model_message["content"])
            timeout = min(timeout, max(0.0, self._look_at - time.monotonic()))
        with self._call.waking(feed.wake):
            state = feed.wait_beyond(position.attempt, position.offset, timeout=timeout, unless=self._call.is_over)
        self._call.raise_if_over()
        if state.ended:
            if live is not None and live.stored:
                return live.pair
            self._live = None
            pair = self._look()
            if pair is not None and pair.model_message["status"] != "generating":
                return pair
            # Handed over: whoever takes the reply will begin a later attempt.
            self._pause.wait(AFTER_HANDOVER_SECONDS)
        return state

    def has_caught_up(self) -> bool:
        """Whether all that was told of the reply is known here: by its writer always, by a copy after a while."""
        return self._live is not None or time.monotonic() >= self._begun_at + CATCH_UP_SECONDS

    def close(self) -> None:
        if self._copy is not None:
            channel.unfollow(self._exchange.message_id)
            self._copy = None

    def _follow(self) -> TextFeed:
        if self._copy is None:
            self._copy = channel.follow(self._exchange.message_id)
        return self._copy

    def _look(self) -> Pair | None:
        """What is stored; None while MongoDB does not answer."""
        try:
            return find_pair(self._exchange)
        except StoreUnavailable:
            return None

    @staticmethod
    def _look_seconds() -> float:
        return LOOK_SECONDS if channel.is_healthy() else LOOK_SECONDS_WITHOUT_REDIS
