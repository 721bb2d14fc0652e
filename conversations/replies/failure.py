"""Failed replies: their stored form, and the error that clients receive."""

from __future__ import annotations

from typing import Any

import structlog

from ai.gemini import ModelError, ModelQuotaExceeded
from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, MessageDocument, ReplyDocument, reply_seq
from edgechat.errors import ApiError, StoreUnavailable
from edgechat.stores.mongo import MongoRefused
from usage.ledger.tokens import TokenUsageOutput

logger = structlog.get_logger(__name__)


def failed_fields(content: str, error: ApiError, usage: TokenUsageOutput | None = None) -> dict[str, Any]:
    """The fields that end a message as failed."""
    failure = {"code": error.code, "retry_after": error.headers.get("Retry-After")}
    return {"content": content, "status": "failed", "failure": failure, "usage": usage}


def failure_of(message: MessageDocument) -> ApiError:
    """The error that clients receive for a failed reply."""
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


def end_refused_reply(conversation: ConversationDocument, reply: ReplyDocument, refusal: MongoRefused) -> None:
    """Free a conversation whose reply MongoDB refuses to store: a new attempt would only cost tokens again.

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
