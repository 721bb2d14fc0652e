"""Replies that went wrong or that users did not like, of all owners, for staff. Texts have a function of their own.

A day of one kind is read by an index.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypedDict, cast

from conversations.transcript_repository.collections import messages, unexpired
from edgechat.stores.mongo import Document, mongo_errors

Quality = Literal["failed", "blocked", "interrupted", "disliked"]

MAX_CHARACTERS = 500


class JudgedReply(TypedDict):
    _id: str
    conversation_id: str
    owner_id: int
    attempt: int
    status: str
    finish_reason: str | None
    rating: str | None
    created_at: datetime


_FIELDS = dict.fromkeys((*(JudgedReply.__annotations__.keys() - {"rating"}), "feedback"), 1)


@mongo_errors
def judged_replies(kind: Quality, start: datetime, end: datetime, *, limit: int) -> list[JudgedReply]:
    """The replies of a kind that were begun from `start` to before `end`, the newest first."""
    chosen: Document = {"feedback.rating": "down"} if kind == "disliked" else {"status": kind}
    chosen |= {"created_at": {"$gte": start, "$lt": end}, "$and": [unexpired()]}
    found = messages().find(chosen, _FIELDS).sort("created_at", -1).limit(limit)
    return [_judged(message) for message in found]


@mongo_errors
def texts_of_replies(message_ids: list[str]) -> dict[str, str]:
    """The beginning of each reply, and the comment of its feedback. The reading must be in the audit log before."""
    texts = {}
    for message in messages().find({"_id": {"$in": message_ids}}, {"content": 1, "feedback": 1}):
        comment = (message.get("feedback") or {}).get("comment")
        text = (message["content"] or "")[:MAX_CHARACTERS]
        texts[message["_id"]] = text + (f"\n\nComment: {comment[:MAX_CHARACTERS]}" if comment else "")
    return texts


def _judged(message: Document) -> JudgedReply:
    rating = (message.pop("feedback", None) or {}).get("rating")
    return cast(JudgedReply, {"finish_reason": None, "attempt": 1, **message, "rating": rating})
