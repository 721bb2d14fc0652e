"""A reply as server-sent events: a running reply as it is written, or a stored reply."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from accounts.open_calls.registry import HungUp, OpenCall
from conversations.documents import MessageDocument
from conversations.replies.exchange import Exchange, Pair, find_pair
from conversations.replies.failure import failure_of
from conversations.replies.follow import LOOK_SECONDS_WITHOUT_REDIS, Follower
from conversations.replies.live import find_running
from conversations.replies.shutdown import is_shutting_down
from conversations.serializers import RestartOutput, message_body, pair_body
from edgechat.errors import ApiError, error_body
from edgechat.http.event_stream import PING, PING_SECONDS, DeltaOutput, event
from edgechat.logs import current_request_id
from edgechat.processes.text_feed import FeedState


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


def opening_pair(exchange: Exchange) -> Pair:
    """Both messages at the start of a reply; from MongoDB if another process writes the reply, or if it has ended."""
    live = find_running(exchange.message_id)
    return find_pair(exchange) if live is None else live.pair


def stream_reply(
    exchange: Exchange, *, call: OpenCall, since: Position | None = None, first: Pair | None = None
) -> Iterator[bytes]:
    """The reply's events: those after `since`, or all; `first` is sent as the opening `message` event.

    Ends with `done` or `error`; `error` also reports what ended the call. The connection may be closed at any point:
    closing it does not affect the reply.
    """
    position = since or Position(0, 0)
    if first is not None:
        position = Position(first.model_message["attempt"], 0)
        yield event("message", pair_body(_as_begun(first)), event_id=str(position))
    pinged = time.monotonic()
    looked = since is None
    with closing(Follower(exchange, call)) as follower:
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
            if isinstance(found, Pair):
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
    failure = failure_of(message)
    if failure is not None and not text:
        yield event("error", error_body(failure, current_request_id()), event_id=end)
    else:
        yield event("done", message_body(message), event_id=end)


def _as_begun(pair: Pair) -> Pair:
    """The pair with an empty running reply, whatever its state; the text follows as deltas."""
    begun: dict[str, Any] = {"content": "", "status": "generating", "finish_reason": None, "usage": None}
    return Pair(pair.user_message, cast(MessageDocument, {**pair.model_message, **begun}))


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
