"""Following a reply to its end, in the process that writes it or in another."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from ai.gemini import ModelError, ModelQuotaExceeded
from conversations import transcript_repository as transcripts
from conversations.documents import MessageDocument
from conversations.replies.live import find_running
from conversations.replies.start import StartedReply
from conversations.services import ConversationNotFound
from edgechat.errors import ApiError, StoreUnavailable
from edgechat.threads import release_database

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Pair:
    user_message: MessageDocument
    model_message: MessageDocument


def wait_for_reply(started: StartedReply) -> Pair:
    """Both messages, once the reply has ended. ConversationNotFound if it was deleted meanwhile."""
    release_database()
    pause = threading.Event()
    while True:
        live = find_running(started.message_id)
        if live is not None:
            live.wait_until_ended(timeout=60)
        pair = find_pair(started)
        if pair.model_message["status"] != "generating":
            return pair
        if live is None:
            pause.wait(POLL_SECONDS)


def find_pair(started: StartedReply) -> Pair:
    """Both messages as they are now, written again first if the process that claimed the reply had not got to it."""
    seqs = (started.seq - 1, started.seq)
    messages = transcripts.find_messages(started.owner_id, started.conversation_id, seqs)
    if len(messages) < 2:
        conversation = transcripts.find_conversation(started.owner_id, started.conversation_id)
        if conversation is None:
            raise ConversationNotFound
        reply = conversation["reply"]
        if reply is not None and reply["message_id"] == started.message_id:
            transcripts.store_exchange(started.owner_id, started.conversation_id, reply)
        messages = transcripts.find_messages(started.owner_id, started.conversation_id, seqs)
        if len(messages) < 2:
            raise ConversationNotFound
    return Pair(*messages)


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
