"""Starting a reply: idempotency first, then the claim of the conversation, then both messages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from django.conf import settings

from conversations import transcript_repository as transcripts
from conversations.context_window import answer_reserve, fits
from conversations.documents import ConversationDocument, ReplyDocument, message_id
from conversations.replies.leases import lease_end
from conversations.replies.live import worker_id
from conversations.replies.run import run_detached
from conversations.services import ConversationNotFound, get_conversation
from edgechat.errors import ApiError, TooLarge
from edgechat.threads import release_database


class GenerationInProgress(ApiError):
    status, code = 409, "generation_in_progress"
    detail = "A reply is being written in this conversation"

    def __init__(self, mid: str) -> None:
        super().__init__(context={"message_id": mid})


class IdempotencyConflict(ApiError):
    status, code = 409, "idempotency_conflict"
    detail = "This key was used before, with another body"


@dataclass(frozen=True)
class StartedReply:
    """The model message of a send. `had_ended`: an earlier, identical send made it, and it is finished."""

    owner_id: int
    conversation_id: str
    message_id: str
    seq: int
    had_ended: bool


def start_reply(
    *, owner_id: int, conversation_id: str, content: str, client_message_id: str | None = None
) -> StartedReply:
    """Store a user's message and begin the reply to it.

    Raises ConversationNotFound, GenerationInProgress, IdempotencyConflict, TooLarge for a message that alone is more
    than the context window, and MongoUnavailable.
    """
    body_hash = hashlib.sha256(json.dumps([content]).encode()).hexdigest()
    while True:
        conversation = get_conversation(owner_id=owner_id, conversation_id=conversation_id)
        if client_message_id is not None:
            earlier = _earlier_send(conversation, client_message_id, body_hash)
            if earlier is not None:
                return earlier
        if conversation["reply"] is not None:
            raise GenerationInProgress(conversation["reply"]["message_id"])
        _refuse_too_long(conversation, content)
        seq = conversation["next_seq"] + 1
        reply: ReplyDocument = {
            "message_id": message_id(conversation_id, seq),
            "user_message": {
                "content": content,
                "client_message_id": client_message_id,
                "body_hash": body_hash,
                "attachments": [],
            },
            "attempt": 1,
            "worker": worker_id(),
            "lease_until": lease_end(),
            "started_at": transcripts.now(),
        }
        claimed = transcripts.claim_reply(
            owner_id, conversation_id, expected_next_seq=conversation["next_seq"], reply=reply
        )
        if claimed is not None:
            break
        # Another send was faster: perhaps the same one, so everything is looked at again.
    transcripts.store_exchange(owner_id, conversation_id, reply)
    _refuse_deleted(owner_id, conversation_id, seq)
    release_database()
    run_detached(claimed, reply)
    return StartedReply(owner_id, conversation_id, reply["message_id"], seq, had_ended=False)


def _earlier_send(conversation: ConversationDocument, client_message_id: str, body_hash: str) -> StartedReply | None:
    """The reply of a send with this key, finished or running; IdempotencyConflict if its body was another."""
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    # A running one first: its messages may not be stored yet.
    reply = conversation["reply"]
    had_ended = reply is None or reply["user_message"]["client_message_id"] != client_message_id
    if reply is not None and not had_ended:
        seq, earlier_hash = int(reply["message_id"].rpartition(":")[2]), reply["user_message"]["body_hash"]
    else:
        message = transcripts.find_message_by_client_id(owner_id, conversation_id, client_message_id)
        if message is None:
            return None
        seq, earlier_hash = message["seq"] + 1, message["body_hash"] or ""
    if earlier_hash != body_hash:
        raise IdempotencyConflict
    return StartedReply(owner_id, conversation_id, message_id(conversation_id, seq), seq, had_ended=had_ended)


def _refuse_too_long(conversation: ConversationDocument, content: str) -> None:
    limit: int = settings.CONTEXT_MAX_TOKENS
    budget = limit - answer_reserve(max_tokens=limit, max_output_tokens=settings.AI_MAX_OUTPUT_TOKENS)
    if not fits(content, system_instruction=conversation["system_instruction"], budget=budget):
        raise TooLarge(f"The message is longer than the {budget} tokens that one message may have")


def _refuse_deleted(owner_id: int, conversation_id: str, seq: int) -> None:
    """Take the messages away again if the conversation was deleted after the claim."""
    if transcripts.find_conversation(owner_id, conversation_id) is None:
        transcripts.delete_messages(owner_id, conversation_id, (seq - 1, seq))
        raise ConversationNotFound
