"""Writing a reply, detached from the request that started it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import structlog

from accounts.open_calls.slots import Slot
from ai.calls.metered import MeteredCall
from ai.gemini import CallCancelled, ModelError
from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, Exchange, MessageDocument, ReplyDocument, Status
from conversations.replies.failure import failed_fields
from conversations.replies.live import LiveReply, add_running, publish, remove_running
from edgechat.errors import ApiError, StoreUnavailable, to_api_error
from edgechat.processes.threads import start_thread, waiting, working, working_if_free
from edgechat.stores.mongo import MongoRefused

logger = structlog.get_logger(__name__)

# The age of a running reply at its first snapshot; each later snapshot is taken when the reply is twice as old.
# A reply whose process is killed is started again, so its snapshot is shown only until then, or kept if that fails too.
SNAPSHOT_SECONDS = 2.0
MAX_SNAPSHOT_SECONDS = 10.0


@dataclass(frozen=True)
class ReplyCall:
    """An opened call. `overflowed` is true if the conversation no longer fits in the context window.

    An error in the `with` block discards the call.
    """

    metered: MeteredCall
    overflowed: bool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.metered.discard()


@dataclass(frozen=True)
class CompleteReply:
    """A complete, stored reply of a model; `conversation` is in the state in which it was claimed."""

    conversation: ConversationDocument
    reply: ReplyDocument
    question: str
    answer: str
    model: str
    overflowed: bool


_when_complete: list[Callable[[CompleteReply], object]] = []


def register_when_complete(function: Callable[[CompleteReply], object]) -> None:
    """Call `function` after each complete reply, in the thread that wrote it, once its followers have the reply."""
    _when_complete.append(function)


def run_detached(
    conversation: ConversationDocument,
    reply: ReplyDocument,
    exchange: Exchange,
    call: ReplyCall,
    slot: Slot,
    *,
    earlier_text: str = "",
) -> None:
    """Write a claimed reply in its own thread, with a call that was opened for it. The thread keeps the slot.

    `earlier_text` is the text that a dead process had written; it is kept if this attempt produces none.
    """
    live = LiveReply(
        owner_id=conversation["owner_id"],
        conversation_id=conversation["_id"],
        reply=reply,
        exchange=exchange,
        control=call.metered.control,
        slot=slot,
    )
    add_running(live)
    try:
        start_thread(_run, live, conversation, reply, call, earlier_text)
    except BaseException:
        # No memory for a thread: the reply is a stray, which this process or another one starts again.
        remove_running(live)
        raise
    slot.keep()


def _run(
    live: LiveReply, conversation: ConversationDocument, reply: ReplyDocument, call: ReplyCall, earlier_text: str
) -> None:
    try:
        final = _write(live, call.metered)
        if final["status"] == "failed" and not final["content"] and earlier_text:
            final = {**final, "status": "interrupted", "content": earlier_text, "failure": None}
        if not live.lease_lost:
            _end(live, reply, final)
    finally:
        remove_running(live)
        live.feed.end()
        if not live.stored and _is_deleted(live):
            live.erased = True
        publish(live)
        live.slot.release()
    if final["status"] == "complete" and live.stored and not live.lease_lost and not live.erased:
        for function in _when_complete:
            function(
                CompleteReply(
                    conversation,
                    reply,
                    question=live.exchange.user_message["content"],
                    answer=final["content"],
                    model=call.metered.model,
                    overflowed=call.overflowed,
                )
            )


def _write(live: LiveReply, call: MeteredCall) -> dict[str, Any]:
    """Make the call and return the fields that end the message."""
    started = time.monotonic()
    snapshot_due = started + SNAPSHOT_SECONDS
    status: Status = "complete"
    failure: ApiError | None = None
    try:
        for text in call.texts():
            if live.lease_lost:
                break
            live.append(text)
            publish(live)
            if time.monotonic() >= snapshot_due:
                with working_if_free() as free:
                    if free:
                        _save_snapshot(live)
                now = time.monotonic()
                snapshot_due = now + min(now - started, MAX_SNAPSHOT_SECONDS)
            if live.stream_lost:
                live.stream_lost = False
                if _save_snapshot(live):
                    live.published_offset = 0
        if call.blocked:
            status = "blocked"
    except CallCancelled:
        status = "stopped"
    except ModelError as error:
        failure = error
    except MongoRefused as error:
        logger.error("reply_refused", message_id=live.message_id, attempt=live.attempt, reason=error.reason)
        failure = StoreUnavailable()
    except Exception as error:
        logger.exception("reply_failed", message_id=live.message_id)
        failure = to_api_error(error) or ApiError()
    if failure is not None:
        return failed_fields(call.text, failure, usage=call.usage.as_body())
    return {
        "content": call.text,
        "status": status,
        "finish_reason": call.finish_reason,
        "usage": call.usage.as_body(),
    }


def _end(live: LiveReply, reply: ReplyDocument, final: dict[str, Any]) -> None:
    """Store the reply's end. If MongoDB refuses it, store a failure; if it refuses that too, free the conversation."""
    for ending in (final, failed_fields("", StoreUnavailable(), final.get("usage")), None):
        try:
            _until_it_lands(live, partial(_store_end, live, reply, ending))
            return
        except MongoRefused as error:
            logger.error("reply_refused", message_id=live.message_id, attempt=live.attempt, reason=error.reason)


def _store_end(live: LiveReply, reply: ReplyDocument, final: dict[str, Any] | None) -> None:
    if final is None:
        transcripts.release_reply(live.owner_id, live.conversation_id, reply, complete=False)
    elif transcripts.end_reply(live.owner_id, live.conversation_id, reply, final):
        answer = cast(MessageDocument, {**live.exchange.model_message, **final})
        live.exchange = Exchange(live.exchange.user_message, answer)
        live.stored = True


def _save_snapshot(live: LiveReply) -> bool:
    """Store the text so far; whether it was stored. A deleted or taken-over reply loses its lease.

    Raises MongoRefused, because MongoDB would refuse a later snapshot as well.
    """
    began = time.monotonic()
    try:
        stored = transcripts.save_snapshot(live.owner_id, live.message_id, attempt=live.attempt, content=live.text)
    except MongoRefused:
        raise
    except StoreUnavailable:
        live.away_since = live.away_since or began
        return False  # the next snapshot, or the end, contains all of the text
    live.away_since = None
    if not stored:
        live.lose_lease()
    return stored


def _is_deleted(live: LiveReply) -> bool:
    try:
        return transcripts.find_conversation(live.owner_id, live.conversation_id) is None
    except StoreUnavailable:
        return False


def _until_it_lands(live: LiveReply, write: Callable[[], None]) -> None:
    """Repeat a final write until the store accepts it: text that the user has read must be stored.

    Raises MongoRefused.
    """
    # Only the first try takes a turn: replies that wait for MongoDB must not block threads that do not need it.
    turn: AbstractContextManager[None] = working()
    seconds = 0.2
    while not live.lease_lost:
        began = time.monotonic()
        try:
            with turn:
                write()
            return
        except MongoRefused:
            raise
        except StoreUnavailable:
            logger.warning("final_write_deferred", message_id=live.message_id)
            live.unstored_since = live.unstored_since or live.away_since or began
            with waiting():
                time.sleep(seconds)
            turn, seconds = nullcontext(), min(seconds * 2, 5.0)
