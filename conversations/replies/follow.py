"""Following a reply to its end, in the process that writes it or in another."""

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

# How often MongoDB is asked whether a reply has ended that another process writes: rarely while Redis tells it anyway.
LOOK_SECONDS = 5.0
LOOK_SECONDS_WITHOUT_REDIS = 0.5
AFTER_HANDOVER_SECONDS = 0.1
# About as long as a reservation takes.
CLAIM_SECONDS = 0.05
# What another process tells of a reply needs this long at most to be here, if it comes at all.
CATCH_UP_SECONDS = 2.0
# An attempt beyond all: only the end is news to a follower who is there.
_BEYOND_ALL = 2**31


def wait_for_claim(call: OpenCall, seconds: float = CLAIM_SECONDS) -> float:
    """Wait a moment for what becomes of a claim that has no messages yet: they are stored, or it is undone.

    How long to wait the next time: its process may be dead. Raises what ended the call.
    """
    call.raise_if_over()
    with waiting():
        time.sleep(seconds)
    return min(1.5 * seconds, LOOK_SECONDS_WITHOUT_REDIS)


def wait_for_reply(exchange: Exchange, *, call: OpenCall) -> Pair:
    """Both messages, once the reply has ended. ConversationNotFound if it was deleted, and what ended the call."""
    with waiting(), closing(Follower(exchange, call)) as follower:
        while True:
            found = follower.next(_BEYOND_ALL, 0, timeout=LOOK_SECONDS)
            if isinstance(found, Pair):
                return found
            if is_shutting_down():
                raise ShuttingDown


class Follower:
    """One follower's view: this process's own feed while it writes the reply, else a copy of the writer's."""

    def __init__(self, exchange: Exchange, call: OpenCall) -> None:
        self._exchange = exchange
        self._call = call
        self._live: LiveReply | None = None
        self._copy: TextFeed | None = None
        self._look_at = 0.0
        self._begun_at = time.monotonic()
        self._pause = threading.Event()

    def next(self, attempt: int, offset: int, *, timeout: float) -> Pair | FeedState:
        """What is new behind `offset` in an attempt's text, or nothing new after `timeout` seconds; the pair once the
        reply has ended.

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
            state = feed.wait_beyond(attempt, offset, timeout=timeout, unless=self._call.is_over)
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
