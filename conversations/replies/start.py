"""Starting a reply: idempotency first, then the claim of the conversation, then both messages."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from accounts.slots import Slot, TooManyReplies, take_slot
from ai.gemini import Turn
from conversations import transcript_repository as transcripts
from conversations.attachments import attachment_body, get_attachments, prompt_pictures, record_uses
from conversations.context_window import fits, instruction_with_summary
from conversations.documents import (
    ConversationDocument,
    ReplyDocument,
    UserMessageDraft,
    message_id,
    reply_seq,
)
from conversations.replies.call import ledger_id_prefix, new_ledger_id, reply_call
from conversations.replies.exchange import Exchange, Pair, find_pair
from conversations.replies.live import claiming
from conversations.replies.refused import end_refused_reply
from conversations.replies.run import run_detached
from conversations.services import IdempotencyConflict, get_conversation, get_message
from edgechat.errors import ApiError, TooLarge
from edgechat.mongo import MongoRefused
from edgechat.threads import begin_work, end_work, release_database
from usage import ledger, processes
from usage.budgets import BudgetExceeded
from usage.tokens import prompt_budget

# A send that its budget has no room for waits so long for one like it that is being begun, and looks so often.
LIKE_IT_SECONDS = 30.0
LOOK_SECONDS = 0.1


class GenerationInProgress(ApiError):
    status, code = 409, "generation_in_progress"
    detail = "A reply is being written in this conversation"

    def __init__(self, mid: str) -> None:
        super().__init__(context={"message_id": mid})


class NotLastExchange(ApiError):
    status, code = 409, "not_last_exchange"
    detail = "Only the last exchange of a conversation can be answered again"


def start_reply(
    *,
    owner_id: int,
    conversation_id: str,
    content: str,
    attachment_ids: Sequence[str] = (),
    client_message_id: str | None = None,
) -> tuple[Exchange, bool]:
    """Store a user's message and begin the reply to it; False beside it for one that an earlier, identical send began
    and that had ended before this one.

    Raises ConversationNotFound, AttachmentNotFound, GenerationInProgress, IdempotencyConflict, TooLarge for a message
    that alone is more than the context window, TooManyReplies, BudgetExceeded and MongoUnavailable.
    """
    body_hash = hashlib.sha256(json.dumps([content, *attachment_ids]).encode()).hexdigest()
    deadline = time.monotonic() + LIKE_IT_SECONDS
    refusal: BudgetExceeded | TooManyReplies | None = None
    while True:
        conversation = get_conversation(owner_id=owner_id, conversation_id=conversation_id)
        if client_message_id is not None:
            earlier = _earlier_send(conversation, client_message_id, body_hash)
            if earlier is not None:
                return earlier
        if conversation["reply"] is not None:
            raise GenerationInProgress(conversation["reply"]["message_id"])
        if refusal is not None:
            raise refusal
        attachments = get_attachments(owner_id=owner_id, attachment_ids=attachment_ids)
        bodies = [attachment_body(attachment) for attachment in attachments]
        _refuse_too_long(conversation, content, bodies)
        seq = conversation["next_seq"] + 1
        draft: UserMessageDraft = {
            "content": content,
            "client_message_id": client_message_id,
            "body_hash": body_hash,
            "attachments": bodies,
        }
        reply = _new_reply(conversation, seq, draft, attempt=1)
        try:
            with take_slot("replies", owner_id, group=conversation_id) as slot:
                record_uses(attachments, conversation_id=conversation_id)
                if _begin(conversation, reply, slot):
                    return Exchange(owner_id, conversation_id, seq), True
        except TooManyReplies as error:
            refusal = error
        except BudgetExceeded as error:
            # What there was may have gone to the same send, which this one follows then, and needs no room for it.
            if client_message_id is None:
                raise
            if time.monotonic() > deadline or not _is_being_begun(reply):
                refusal = error
        # Another request was faster: perhaps the same send, so everything is looked at again.


def regenerate_reply(*, owner_id: int, conversation_id: str, mid: str, content: str | None = None) -> Exchange:
    """Answer the last exchange again, its user's message changed to `content` if that is given.

    `mid` names either of its messages. What was there is kept in `variants`. Raises ConversationNotFound,
    MessageNotFound, NotLastExchange, GenerationInProgress, TooLarge, TooManyReplies, BudgetExceeded and
    MongoUnavailable.
    """
    while True:
        conversation = get_conversation(owner_id=owner_id, conversation_id=conversation_id)
        message = get_message(owner_id=owner_id, conversation_id=conversation_id, mid=mid)
        exchange = Exchange(owner_id, conversation_id, message["seq"] + (message["role"] == "user"))
        if conversation["reply"] is not None:
            raise GenerationInProgress(conversation["reply"]["message_id"])
        if exchange.seq != conversation["next_seq"] - 1:
            raise NotLastExchange
        pair = find_pair(exchange)
        question = pair.user_message["content"] if content is None else content
        _refuse_too_long(conversation, question, pair.user_message["attachments"])
        draft: UserMessageDraft = {
            "content": question,
            "client_message_id": pair.user_message["client_message_id"],
            "body_hash": pair.user_message["body_hash"] or "",
            "attachments": pair.user_message["attachments"],
        }
        attempt = pair.model_message["attempt"] + 1
        with take_slot("replies", owner_id, group=conversation_id) as slot:
            if _begin(conversation, _new_reply(conversation, exchange.seq, draft, attempt=attempt), slot):
                return exchange


def _begin(conversation: ConversationDocument, reply: ReplyDocument, slot: Slot) -> bool:
    """Claim the conversation for a reply, store both messages and begin to write; False if another was faster.

    What the reply can cost is reserved before, so a budget that is spent leaves no message behind.
    If a store fails in between, or its answer is lost, `take_over` finds the reply.
    """
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    with reply_call(conversation, reply) as asked, claiming(conversation_id):
        if not transcripts.claim_reply(conversation, reply):
            return False
        try:
            pair = Pair(*transcripts.prepare_messages(owner_id, conversation_id, reply))
        except MongoRefused as error:
            end_refused_reply(owner_id, conversation_id, reply, error)
            raise
        run_detached(conversation, reply, pair, asked, slot)
        return True


def _is_being_begun(reply: ReplyDocument) -> bool:
    """Whether another request has opened a call for the same exchange; waits a moment for what comes of it if so."""
    if not ledger.has_open_entry(ledger_id_prefix(reply["message_id"], reply["attempt"])):
        return False
    release_database()
    end_work()
    threading.Event().wait(LOOK_SECONDS)
    begin_work()
    return True


def _new_reply(conversation: ConversationDocument, seq: int, draft: UserMessageDraft, *, attempt: int) -> ReplyDocument:
    mid = message_id(conversation["_id"], seq)
    return {
        "message_id": mid,
        "user_message": draft,
        "attempt": attempt,
        "ledger_id": new_ledger_id(mid, attempt),
        "first_attempt": attempt,
        "worker": processes.this_process(),
        "stop_requested": False,
        "expires_at": conversation["expires_at"],
        "started_at": transcripts.now(),
    }


def _earlier_send(
    conversation: ConversationDocument, client_message_id: str, body_hash: str
) -> tuple[Exchange, bool] | None:
    """The exchange of a send with this key, and whether its reply still runs; IdempotencyConflict for another body."""
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    reply = conversation["reply"]
    # The running one first: its messages may not be stored yet.
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


def _refuse_too_long(conversation: ConversationDocument, content: str, attachments: Sequence[dict[str, Any]]) -> None:
    budget = prompt_budget(max_tokens=settings.CONTEXT_MAX_TOKENS, max_output_tokens=settings.AI_MAX_OUTPUT_TOKENS)
    summary = conversation["summary"]["text"] if conversation["summary"] else None
    instruction = instruction_with_summary(conversation["system_instruction"], summary)
    question = Turn("user", content, prompt_pictures(attachments))
    if not fits(question, instruction=instruction, budget=budget):
        raise TooLarge(f"The message is longer than the {budget} tokens that one message may have")
