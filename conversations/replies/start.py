"""Starting a reply: to a new message, or to the last exchange again.

A start claims the conversation, reserves the answer's largest cost, and stores both messages. A claim whose reservation
is refused is undone without a trace. If a store fails in between, or its answer is lost, `take_over` finds the claim.
Only the process that a claim names may write its messages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from accounts.open_calls.registry import OpenCall
from accounts.open_calls.slots import Slot, TooManyReplies, take_slot
from ai.calls.metered import MeteredCall
from conversations import transcript_repository as transcripts
from conversations.attachments.queries import attachment_body, get_attachments
from conversations.attachments.services import record_uses
from conversations.documents import (
    Answerable,
    ConversationDocument,
    Exchange,
    ReplyDocument,
    ReplyKey,
    UserMessageDraft,
    message_id,
    message_seq,
    reply_seq,
)
from conversations.prompt.context_window import ReplyPrompt, refuse_too_long, reply_prompt
from conversations.prompt.titles import provisional_title
from conversations.queries import ConversationNotFound, MessageNotFound, charged_organization, get_answerable
from conversations.replies.failure import end_refused_reply
from conversations.replies.follow import CLAIM_SECONDS, wait_for_claim
from conversations.replies.run import ReplyCall, run_detached
from conversations.services import GenerationInProgress
from edgechat.errors import ApiError
from edgechat.http.idempotency import IdempotencyConflict
from edgechat.metrics import catalog
from edgechat.stores import store_time
from edgechat.stores.mongo import MongoRefused
from usage import processes
from usage.models import LedgerEntry

# The reservation may have used all of the request's store time.
UNDO_SECONDS = 1.0


class NotLastExchange(ApiError):
    status, code = 409, "not_last_exchange"
    detail = "Only the last exchange of a conversation can be answered again"


def send_message(
    *,
    owner_id: int,
    conversation_id: str,
    content: str,
    attachment_ids: Sequence[str] = (),
    client_message_id: str | None = None,
    call: OpenCall,
) -> tuple[ReplyKey, bool]:
    """Store a user's message and start the reply to it.

    Returns the key of the reply, and whether it was started now or is still running: False for a repeated send whose
    reply has ended. Raises ConversationNotFound, AttachmentNotFound, GenerationInProgress, IdempotencyConflict,
    TooLarge for a message that alone exceeds the context window, TooManyReplies, BudgetExceeded, MongoUnavailable, and
    what ended the call.
    """
    body_hash = hashlib.sha256(json.dumps([content, *attachment_ids]).encode()).hexdigest()
    refusal: TooManyReplies | None = None
    pause = CLAIM_SECONDS
    while True:
        found = get_answerable(owner_id=owner_id, conversation_id=conversation_id)
        conversation = found.conversation
        if client_message_id is not None:
            earlier = _earlier_send(found, client_message_id, body_hash)
            if earlier is not None:
                key, running = earlier
                if not running or _is_stored(key):
                    catalog.replayed_sends.inc()
                    return earlier
                pause = wait_for_claim(call, pause)
                continue
        if not _is_free(conversation):
            continue
        if refusal is not None:
            raise refusal
        attachments = get_attachments(owner_id=owner_id, attachment_ids=attachment_ids)
        draft: UserMessageDraft = {
            "content": content,
            "client_message_id": client_message_id,
            "body_hash": body_hash,
            "attachments": [attachment_body(attachment) for attachment in attachments],
        }
        refuse_too_long(conversation, draft)
        reply = _new_reply(conversation, seq=conversation["next_seq"] + 1, attempt=1, draft=draft)
        try:
            with take_slot("replies", owner_id, group=conversation_id) as slot:
                started = start_reply(found, reply, slot=slot)
            if started is not None:
                return started, True
        except TooManyReplies as error:
            refusal = error
        # Another request claimed the conversation first. It may be the same send, so all checks are repeated.


def regenerate_reply(*, owner_id: int, conversation_id: str, mid: str, content: str | None = None) -> ReplyKey:
    """Answer the last exchange again, and change its user's message to `content` if that is given.

    `mid` is the id of either message. The earlier content is kept in `variants`. Raises ConversationNotFound,
    MessageNotFound, NotLastExchange, GenerationInProgress, TooLarge, TooManyReplies, BudgetExceeded and
    MongoUnavailable.
    """
    seq = message_seq(conversation_id, mid)
    seqs = () if seq is None else (seq - 1, seq, seq + 1)
    while True:
        found = get_answerable(owner_id=owner_id, conversation_id=conversation_id, seqs=seqs)
        conversation = found.conversation
        message = None if seq is None else found.requested.get(seq)
        if message is None:
            raise MessageNotFound
        key = ReplyKey(owner_id, conversation_id, message["seq"] + (message["role"] == "user"))
        if not _is_free(conversation):
            continue
        if key.seq != conversation["next_seq"] - 1:
            raise NotLastExchange
        if not {key.seq - 1, key.seq} <= found.requested.keys():
            raise ConversationNotFound
        exchange = Exchange(found.requested[key.seq - 1], found.requested[key.seq])
        question = exchange.user_message["content"] if content is None else content
        draft: UserMessageDraft = {
            "content": question,
            "client_message_id": exchange.user_message["client_message_id"],
            "body_hash": exchange.user_message["body_hash"] or "",
            "attachments": exchange.user_message["attachments"],
        }
        refuse_too_long(conversation, draft)
        attempt = exchange.model_message["attempt"] + 1
        reply = _new_reply(conversation, seq=key.seq, attempt=attempt, draft=draft)
        with take_slot("replies", owner_id, group=conversation_id) as slot:
            if start_reply(found, reply, before=exchange, slot=slot):
                return key


def start_reply(
    found: Answerable, reply: ReplyDocument, *, before: Exchange | None = None, slot: Slot
) -> ReplyKey | None:
    """Start a reply; None if the conversation has changed since it was read.

    `before` are both messages, with their variants, if the reply answers them again. Raises AttachmentNotFound if a
    picture of a new message was deleted meanwhile, BudgetExceeded and MongoUnavailable.
    """
    conversation, seq = found.conversation, reply_seq(reply)
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    prompt = reply_prompt(conversation, reply["user_message"], seq=seq, recent=found.recent)
    with claiming(conversation_id):
        claimed = transcripts.claim_reply(conversation, reply, recent=prompt.recent)
        if claimed is None:
            return None
        call = _reserve(claimed, reply, prompt, before=conversation)
        if call is None:
            return None
        with call:
            try:
                exchange = transcripts.prepare_messages(owner_id, conversation_id, reply, before=before)
            except MongoRefused as error:
                end_refused_reply(claimed, reply, error)
                raise
            run_detached(claimed, reply, exchange, call, slot)
        return ReplyKey(owner_id, conversation_id, seq)


def _reserve(
    claimed: ConversationDocument, reply: ReplyDocument, prompt: ReplyPrompt, *, before: ConversationDocument
) -> ReplyCall | None:
    """The opened call; None if another process has taken the claim over. If opening fails, the claim is undone."""
    try:
        call = open_reply_call(claimed, reply, prompt)
        if reply["attempt"] == 1:
            with call:
                record_uses(reply["user_message"]["attachments"], conversation_id=claimed["_id"])
        return call
    except BaseException:
        with store_time.at_least(UNDO_SECONDS):
            if not transcripts.undo_claim(claimed, reply, before=before):
                return None
        raise


def open_reply_call(conversation: ConversationDocument, reply: ReplyDocument, prompt: ReplyPrompt) -> ReplyCall:
    """Reserve the largest possible cost of the answer in the budgets.

    Raises BudgetExceeded, StoreUnavailable, and OperationalError when the ledger can't be written.
    """
    call = MeteredCall(
        attempt_id=reply["ledger_id"],
        user_id=conversation["owner_id"],
        organization_id=charged_organization(conversation),
        purpose=LedgerEntry.Purpose.CHAT,
        prompt=prompt.prompt,
    )
    call.open()
    return ReplyCall(call, prompt.overflowed)


def new_ledger_id(conversation: ConversationDocument, mid: str, attempt: int) -> str:
    """The id of an attempt's ledger entry.

    It contains the revision from which the attempt was claimed, because an undone claim returns its sequence numbers.
    """
    return f"{mid}:{attempt}:{conversation.get('revision', 0)}"


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


def is_claiming(conversation_id: str) -> bool:
    return conversation_id in _claiming


def _is_free(conversation: ConversationDocument) -> bool:
    """Whether the conversation has no reply; one whose reply has ended is freed. Raises GenerationInProgress.

    A reply's end is stored before its conversation is freed. A user who has read the end may send, so this function
    frees the conversation if the process that wrote the reply has not done so yet, or died before.
    """
    reply = conversation["reply"]
    if reply is None:
        return True
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    stored = transcripts.find_messages(owner_id, conversation_id, [reply_seq(reply)], variants=False)
    if not stored or stored[0]["status"] == "generating" or stored[0]["attempt"] != reply["attempt"]:
        raise GenerationInProgress(reply["message_id"])
    complete = stored[0]["status"] == "complete"
    transcripts.release_reply(owner_id, conversation_id, reply, complete=complete)
    return False


def _earlier_send(found: Answerable, client_message_id: str, body_hash: str) -> tuple[ReplyKey, bool] | None:
    """The reply to a send with this key, and whether it runs. Raises IdempotencyConflict for another body."""
    conversation = found.conversation
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    reply = conversation["reply"]
    # The running reply is checked first, because its messages may not be stored yet.
    if reply is not None and reply["user_message"]["client_message_id"] == client_message_id:
        seq, earlier_hash, running = reply_seq(reply), reply["user_message"]["body_hash"], True
    else:
        sent = _find_sent(found, client_message_id)
        if sent is None:
            return None
        seq, earlier_hash, running = sent[0] + 1, sent[1], False
    if earlier_hash != body_hash:
        raise IdempotencyConflict
    return ReplyKey(owner_id, conversation_id, seq), running


def _find_sent(found: Answerable, client_message_id: str) -> tuple[int, str] | None:
    """(seq, hash of the body) of the message that was sent with this key, or None."""
    conversation = found.conversation
    for message in found.recent:
        if message["client_message_id"] == client_message_id:
            return message["seq"], message["body_hash"] or ""
    if len(found.recent) == conversation["next_seq"] - 1:
        return None  # these are all messages
    return transcripts.find_sent(conversation["owner_id"], conversation["_id"], client_message_id)


def _is_stored(key: ReplyKey) -> bool:
    """Whether a claim's messages are stored, after which it is never undone."""
    found = transcripts.find_messages(key.owner_id, key.conversation_id, [key.seq], variants=False)
    return bool(found)


def _new_reply(conversation: ConversationDocument, *, seq: int, attempt: int, draft: UserMessageDraft) -> ReplyDocument:
    mid = message_id(conversation["_id"], seq)
    return {
        "message_id": mid,
        "user_message": draft,
        "attempt": attempt,
        "ledger_id": new_ledger_id(conversation, mid, attempt),
        "first_title": provisional_title(draft["content"]) if conversation["title"] is None else None,
        "first_attempt": attempt,
        "worker": processes.this_process(),
        "stop_requested": False,
        "expires_at": conversation["expires_at"],
        "started_at": transcripts.now(),
    }
