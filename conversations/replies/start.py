"""Starting a reply: claim the conversation, reserve the answer's largest cost, store both messages.

A claim whose reservation is refused is undone without a trace. If a store fails in between, or its answer is lost,
`take_over` finds the claim. Only the process that a claim names may write its messages.
"""

from __future__ import annotations

from accounts.open_calls.slots import Slot
from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, ReplyDocument, UserMessageDraft, message_id
from conversations.prompt.titles import provisional_title
from conversations.replies.call import ReplyCall, open_reply_call
from conversations.replies.exchange import Exchange, Pair
from conversations.replies.live import claiming
from conversations.replies.refused import end_refused_reply
from conversations.replies.run import run_detached
from edgechat.stores import store_time
from edgechat.stores.mongo import MongoRefused
from usage import processes

# The reservation may have used all of the request's store time.
UNDO_SECONDS = 1.0


def start_reply(
    conversation: ConversationDocument, *, seq: int, attempt: int, draft: UserMessageDraft, slot: Slot
) -> Exchange | None:
    """Start the reply to an exchange; None if the conversation has changed since it was read.

    `seq` is the model message's sequence number, `draft` the content of the user's message. Raises
    BudgetExceeded and MongoUnavailable.
    """
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    reply = _new_reply(conversation, seq=seq, attempt=attempt, draft=draft)
    with claiming(conversation_id):
        claimed = transcripts.claim_reply(conversation, reply)
        if claimed is None:
            return None
        reserved = _reserve(claimed, reply, before=conversation)
        if reserved is None:
            return None
        with reserved:
            try:
                pair = Pair(*transcripts.prepare_messages(owner_id, conversation_id, reply))
            except MongoRefused as error:
                end_refused_reply(claimed, reply, error)
                raise
            run_detached(claimed, reply, pair, reserved, slot)
        return Exchange(owner_id, conversation_id, seq)


def _reserve(claimed: ConversationDocument, reply: ReplyDocument, *, before: ConversationDocument) -> ReplyCall | None:
    """The opened call; None if another process has taken the claim over. If opening fails, the claim is undone."""
    try:
        return open_reply_call(claimed, reply)
    except BaseException:
        with store_time.at_least(UNDO_SECONDS):
            if not transcripts.undo_claim(claimed, reply, before=before):
                return None
        raise


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


def new_ledger_id(conversation: ConversationDocument, mid: str, attempt: int) -> str:
    """The id of an attempt's ledger entry.

    It contains the revision from which the attempt was claimed, because an undone claim returns its sequence numbers.
    """
    return f"{mid}:{attempt}:{conversation.get('revision', 0)}"
