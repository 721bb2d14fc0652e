"""The replies that this process is writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accounts.open_calls.slots import Slot
from ai.gemini import CallControl
from conversations.documents import ReplyDocument
from conversations.replies.exchange import Pair
from edgechat.processes.text_feed import TextFeed


class LiveReply:
    """One running attempt at a reply, shared by the thread that writes it and the threads that follow it."""

    def __init__(
        self,
        *,
        owner_id: int,
        conversation_id: str,
        reply: ReplyDocument,
        pair: Pair,
        control: CallControl,
        slot: Slot,
    ) -> None:
        self.owner_id = owner_id
        self.conversation_id = conversation_id
        self.message_id = reply["message_id"]
        self.attempt = reply["attempt"]
        self.worker = reply["worker"]
        self.control = control
        self.slot = slot
        # Both messages as this process stored them; their final state once `stored` is true.
        self.pair = pair
        self.stored = False
        self.feed = TextFeed(epoch=self.attempt)
        # Another process takes the reply over: this attempt must not write any more.
        self.lease_lost = False
        # The number of characters published to Redis; used by the channel only.
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

    def erase(self) -> None:
        self.erased = True
        self.control.cancel()

    def lose_lease(self) -> None:
        self.lease_lost = True
        self.control.cancel()


_running: dict[str, LiveReply] = {}


def add_running(reply: LiveReply) -> None:
    _running[reply.message_id] = reply


def remove_running(reply: LiveReply) -> None:
    if _running.get(reply.message_id) is reply:
        del _running[reply.message_id]


def find_running(message_id: str) -> LiveReply | None:
    """The reply if this process is writing it, else None."""
    reply = _running.get(message_id)
    return None if reply is None or reply.lease_lost else reply


# One entry for each thread that is claiming the conversation.
_claiming: list[str] = []


@contextmanager
def claiming(conversation_id: str) -> Iterator[None]:
    """Wrap the steps from a reply's claim to its thread: the claim names this process, but no thread runs yet."""
    _claiming.append(conversation_id)
    try:
        yield
    finally:
        _claiming.remove(conversation_id)


def is_accounted_for(conversation_id: str, message_id: str) -> bool:
    """Whether this process writes the reply, or is about to start it."""
    return conversation_id in _claiming or message_id in _running


def all_running() -> list[LiveReply]:
    return list(_running.values())
