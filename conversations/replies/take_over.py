"""Replies whose process is gone: taken over when their lease has run out, and begun again or ended."""

from __future__ import annotations

import structlog
from django.utils import timezone

from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, MessageDocument, ReplyDocument, reply_seq
from conversations.replies.leases import lease_end
from conversations.replies.live import worker_id
from conversations.replies.run import attempt_id, run_detached
from conversations.replies.shutdown import is_shutting_down
from usage import ledger
from usage.tokens import estimate_tokens

logger = structlog.get_logger(__name__)

REAP_SECONDS = 2.0
AT_ONCE = 200
# A reply that has outlived this many processes may be what kills them.
MAX_ATTEMPTS_PER_ANSWER = 3


def take_over_replies(*, restart: bool = True) -> int:
    """Take over every reply whose lease has run out; how many. Without `restart` they are ended as interrupted."""
    if is_shutting_down():
        return 0
    taken = 0
    for conversation in transcripts.find_expired_leases(timezone.now(), limit=AT_ONCE):
        taken += _take_over(conversation, restart=restart)
    return taken


def _take_over(conversation: ConversationDocument, *, restart: bool) -> bool:
    owner_id, conversation_id, reply = conversation["owner_id"], conversation["_id"], conversation["reply"]
    if reply is None or not transcripts.take_lease(
        owner_id, conversation_id, reply, worker=worker_id(), lease_until=lease_end()
    ):
        return False  # another process was faster, or the writer is back
    transcripts.prepare_messages(owner_id, conversation_id, reply)
    message = _model_message(owner_id, conversation_id, reply)
    if message is None or message["status"] != "generating":
        # Its process died between the last two writes: the reply has ended, its conversation is not free yet.
        transcripts.release_reply(owner_id, conversation_id, mid=reply["message_id"], attempt=reply["attempt"])
        return True
    logger.warning("reply_taken_over", message_id=reply["message_id"], attempt=reply["attempt"])
    # The dead process may have reached the model, and the tokens are paid for.
    ledger.settle_from_estimate(attempt_id(reply), output_tokens=estimate_tokens(message["content"]))
    if reply["stop_requested"]:
        _end(conversation, reply, message, status="stopped")
    elif not restart or reply["attempt"] - reply["first_attempt"] + 1 >= MAX_ATTEMPTS_PER_ANSWER:
        _end(conversation, reply, message, status="interrupted")
    else:
        next_attempt: ReplyDocument = {**reply, "attempt": reply["attempt"] + 1, "worker": worker_id()}
        if transcripts.begin_attempt(owner_id, conversation_id, next_attempt):
            transcripts.prepare_messages(owner_id, conversation_id, next_attempt)
            run_detached(conversation, next_attempt, earlier_text=message["content"])
    return True


def _end(conversation: ConversationDocument, reply: ReplyDocument, message: MessageDocument, *, status: str) -> None:
    owner_id, mid, attempt = conversation["owner_id"], reply["message_id"], reply["attempt"]
    transcripts.finish_message(owner_id, mid, attempt=attempt, final={"content": message["content"], "status": status})
    transcripts.release_reply(owner_id, conversation["_id"], mid=mid, attempt=attempt)


def _model_message(owner_id: int, conversation_id: str, reply: ReplyDocument) -> MessageDocument | None:
    found = transcripts.find_messages(owner_id, conversation_id, [reply_seq(reply)])
    return found[0] if found else None
