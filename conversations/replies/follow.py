"""Following a reply to its end, in the process that writes it or in another process."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from accounts.open_calls.registry import OpenCall
from conversations.replies import channel
from conversations.replies.exchange import Exchange, Pair, find_pair
from conversations.replies.live import LiveReply, find_running
from conversations.replies.shutdown import ShuttingDown, is_shutting_down
from edgechat.errors import StoreUnavailable
from edgechat.processes.text_feed import FeedState, TextFeed
from edgechat.processes.threads import waiting

# The interval at which MongoDB is polled for the end of another process's reply; long, because Redis reports it too.
LOOK_SECONDS = 5.0
LOOK_SECONDS_WITHOUT_REDIS = 0.5
AFTER_HANDOVER_SECONDS = 0.1
# About the duration of a reservation.
CLAIM_SECONDS = 0.05
# The longest time that another process's pieces need to arrive here, if they arrive at all.
CATCH_UP_SECONDS = 2.0
# Greater than every attempt: a follower at this position only receives the end.
_BEYOND_ALL = 2**31


def wait_for_claim(call: OpenCall, seconds: float = CLAIM_SECONDS) -> float:
    """Wait `seconds` until a claim without messages has them, or is undone.

    Returns the seconds of the next wait, which grow because the claim's process may be dead. Raises what ended the
    call.
    """
    call.raise_if_over()
    with waiting():
        time.sleep(seconds)
    return min(1.5 * seconds, LOOK_SECONDS_WITHOUT_REDIS)


def wait_for_reply(exchange: Exchange, *, call: OpenCall) -> Pair:
    """Both messages, once the reply has ended. Raises ConversationNotFound if deleted, and what ended the call."""
    with waiting(), closing(Follower(exchange, call)) as follower:
        while True:
            found = follower.next(_BEYOND_ALL, 0, timeout=LOOK_SECONDS)
            if isinstance(found, Pair):
                return found
            if is_shutting_down():
                raise ShuttingDown


class Follower:
    """One follower's view: this process's own feed while it writes the reply, else a copy of the writer's feed."""

    def __init__(self, exchange: Exchange, call: OpenCall) -> None:
        self._exchange = exchange
        self._call = call
        self._live: LiveReply | None = None
        self._copy: TextFeed | None = None
        self._look_at = 0.0
        self._begun_at = time.monotonic()
        self._pause = threading.Event()

    def next(self, attempt: int, offset: int, *, timeout: float) -> Pair | FeedState:
        """Wait for text after `offset` in an attempt; the pair once the reply has ended.

        After `timeout` seconds the state is returned unchanged. Raises ConversationNotFound if the reply was deleted,
        and what ended the call.
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
                    # The snapshot may contain text that Redis lost.
                    feed.put(pair.model_message["attempt"], pair.model_message["content"])
            timeout = min(timeout, max(0.0, self._look_at - time.monotonic()))
        with self._call.waking(feed.wake):
            state = feed.wait_beyond(attempt, offset, timeout=timeout, unless=self._call.is_over)
        self._call.raise_if_over()
        if state.ended:
            if live is not None and live.stored:
                return live.pair
            self._live = None
            pair = self._look()
            if pair is not None and pair.model_message["status"] != "generating":
                return pair
            # The reply is handed over: the process that takes it over starts a later attempt.
            self._pause.wait(AFTER_HANDOVER_SECONDS)
        return state

    def has_caught_up(self) -> bool:
        """Whether all published text is known: always in the writer's process, in others after CATCH_UP_SECONDS."""
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
        """The stored pair; None while MongoDB does not answer."""
        try:
            return find_pair(self._exchange)
        except StoreUnavailable:
            return None

    @staticmethod
    def _look_seconds() -> float:
        return LOOK_SECONDS if channel.is_healthy() else LOOK_SECONDS_WITHOUT_REDIS
