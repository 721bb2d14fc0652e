"""Replies that MongoDB refuses to keep: they end as failed, for to try again would only be paid for again."""

from __future__ import annotations

from typing import Any

import structlog

from conversations import transcript_repository as transcripts
from conversations.documents import ReplyDocument, reply_seq
from edgechat.errors import ApiError, StoreUnavailable
from edgechat.mongo import MongoRefused

logger = structlog.get_logger(__name__)


def failed_fields(content: str, error: ApiError, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    """What ends a message as failed."""
    failure = {"code": error.code, "retry_after": error.headers.get("Retry-After")}
    return {"content": content, "status": "failed", "failure": failure, "usage": usage}


def end_refused_reply(owner_id: int, conversation_id: str, reply: ReplyDocument, refusal: MongoRefused) -> None:
    """Free a conversation for whose reply MongoDB takes no messages, or not what they are to say.

    The claim is undone where there are none of it. Raises MongoUnavailable.
    """
    mid, attempt = reply["message_id"], reply["attempt"]
    logger.error("reply_refused", message_id=mid, attempt=attempt, reason=refusal.reason)
    try:
        transcripts.finish_message(owner_id, mid, attempt=attempt, final=failed_fields("", StoreUnavailable()))
    except MongoRefused as again:
        logger.error("reply_refused", message_id=mid, attempt=attempt, reason=again.reason)
    stored = transcripts.find_messages(owner_id, conversation_id, [reply_seq(reply)], variants=False)
    if attempt == 1 and not stored:
        transcripts.undo_claim(owner_id, conversation_id, reply)
    else:
        transcripts.release_reply(owner_id, conversation_id, mid=mid, attempt=attempt)
