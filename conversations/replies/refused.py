"""Replies that MongoDB refuses to store: they end as failed, because a new attempt would only cost tokens again."""

from __future__ import annotations

import structlog

from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, ReplyDocument, reply_seq
from conversations.replies.failure import failed_fields
from edgechat.errors import StoreUnavailable
from edgechat.stores.mongo import MongoRefused

logger = structlog.get_logger(__name__)


def end_refused_reply(conversation: ConversationDocument, reply: ReplyDocument, refusal: MongoRefused) -> None:
    """Free a conversation whose reply MongoDB refuses to store.

    A claim without stored messages is undone. Raises MongoUnavailable.
    """
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    attempt, seq = reply["attempt"], reply_seq(reply)
    logger.error("reply_refused", message_id=reply["message_id"], attempt=attempt, reason=refusal.reason)
    if attempt == 1 and not transcripts.find_messages(owner_id, conversation_id, [seq], variants=False):
        transcripts.delete_messages(owner_id, conversation_id, (seq - 1, seq))
        transcripts.undo_claim(conversation, reply)
        return
    try:
        transcripts.end_reply(owner_id, conversation_id, reply, failed_fields("", StoreUnavailable()))
    except MongoRefused as again:
        logger.error("reply_refused", message_id=reply["message_id"], attempt=attempt, reason=again.reason)
        transcripts.release_reply(owner_id, conversation_id, reply, complete=False)
