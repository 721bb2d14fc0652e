"""Sending a message. A repeated send follows the reply to the first one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from accounts.open_calls.registry import OpenCall
from accounts.open_calls.slots import TooManyReplies, take_slot
from conversations import transcript_repository as transcripts
from conversations.attachments.queries import attachment_body, get_attachments
from conversations.attachments.services import record_uses
from conversations.documents import ConversationDocument, UserMessageDraft, reply_seq
from conversations.queries import get_conversation
from conversations.replies.call import refuse_too_long
from conversations.replies.exchange import Exchange
from conversations.replies.follow import CLAIM_SECONDS, wait_for_claim
from conversations.replies.start import start_reply
from conversations.services import IdempotencyConflict, refuse_while_replying


def send_message(
    *,
    owner_id: int,
    conversation_id: str,
    content: str,
    attachment_ids: Sequence[str] = (),
    client_message_id: str | None = None,
    call: OpenCall,
) -> tuple[Exchange, bool]:
    """Store a user's message and start the reply to it.

    Returns the exchange, and whether its reply was started now or is still running: False for a repeated send whose
    reply has ended. Raises ConversationNotFound, AttachmentNotFound, GenerationInProgress, IdempotencyConflict,
    TooLarge for a message that alone exceeds the context window, TooManyReplies, BudgetExceeded, MongoUnavailable, and
    what ended the call.
    """
    body_hash = hashlib.sha256(json.dumps([content, *attachment_ids]).encode()).hexdigest()
    refusal: TooManyReplies | None = None
    pause = CLAIM_SECONDS
    while True:
        conversation = get_conversation(owner_id=owner_id, conversation_id=conversation_id)
        if client_message_id is not None:
            earlier = _earlier_send(conversation, client_message_id, body_hash)
            if earlier is not None:
                exchange, running = earlier
                if not running or _is_stored(exchange):
                    return earlier
                pause = wait_for_claim(call, pause)
                continue
        conversation = refuse_while_replying(conversation)
        if refusal is not None:
            raise refusal
        attachments = get_attachments(owner_id=owner_id, attachment_ids=attachment_ids)
        bodies = [attachment_body(attachment) for attachment in attachments]
        refuse_too_long(conversation, content, bodies)
        draft: UserMessageDraft = {
            "content": content,
            "client_message_id": client_message_id,
            "body_hash": body_hash,
            "attachments": bodies,
        }
        seq = conversation["next_seq"] + 1
        try:
            with take_slot("replies", owner_id, group=conversation_id) as slot:
                record_uses(attachments, conversation_id=conversation_id)
                begun = start_reply(conversation, seq=seq, attempt=1, draft=draft, slot=slot)
            if begun is not None:
                return begun, True
        except TooManyReplies as error:
            refusal = error
        # Another request claimed the conversation first. It may be the same send, so all checks are repeated.


def _earlier_send(
    conversation: ConversationDocument, client_message_id: str, body_hash: str
) -> tuple[Exchange, bool] | None:
    """The exchange of a send with this key, and whether its reply runs. Raises IdempotencyConflict for another body."""
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    reply = conversation["reply"]
    # The running reply is checked first, because its messages may not be stored yet.
    if reply is not None and reply["user_message"]["client_message_id"] == client_message_id:
        seq, earlier_hash, running = reply_seq(reply), reply["user_message"]["body_hash"], True
    else:
        sent = transcripts.find_sent(owner_id, conversation_id, client_message_id)
        if sent is None:
            return None
        seq, earlier_hash, running = sent[0] + 1, sent[1], False
    if earlier_hash != body_hash:
        raise IdempotencyConflict
    return Exchange(owner_id, conversation_id, seq), running


def _is_stored(exchange: Exchange) -> bool:
    """Whether a claim's messages are stored, after which it is never undone."""
    found = transcripts.find_messages(exchange.owner_id, exchange.conversation_id, [exchange.seq], variants=False)
    return bool(found)
