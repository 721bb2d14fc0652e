"""Replies that went wrong or that users did not like, of all owners, for staff. Texts have a function of their own.

Days of one kind are read by an index, those of one owner by the index of the owner's messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal, TypedDict, cast

from conversations.transcript_repository.collections import messages, unexpired
from edgechat.stores.mongo import Document, mongo_errors

Quality = Literal["failed", "blocked", "interrupted", "disliked"]

MAX_CHARACTERS = 500


class JudgedReply(TypedDict):
    """`failure` is the code of the error that a failed reply was answered with."""

    _id: str
    conversation_id: str
    owner_id: int
    attempt: int
    status: str
    finish_reason: str | None
    failure: str | None
    rating: str | None
    created_at: datetime


_FIELDS = dict.fromkeys((*(JudgedReply.__annotations__.keys() - {"rating"}), "feedback"), 1)


def _chosen(kind: Quality, start: datetime, end: datetime, owner_id: int | None) -> Document:
    chosen: Document = {"feedback.rating": "down"} if kind == "disliked" else {"status": kind}
    chosen |= {"created_at": {"$gte": start, "$lt": end}, "$and": [unexpired()]}
    return chosen if owner_id is None else {"owner_id": owner_id, **chosen}


@mongo_errors
def judged_replies(
    kind: Quality,
    start: datetime,
    end: datetime,
    *,
    limit: int,
    owner_id: int | None = None,
    without: Sequence[str] = (),
) -> list[JudgedReply]:
    """The replies of a kind, of all owners or one, that were begun from `start` to before `end`, the newest first.

    `without`: ids of replies that are left out, for the next page from the time of the last one.
    """
    chosen = _chosen(kind, start, end, owner_id)
    if without:
        chosen["_id"] = {"$nin": list(without)}
    found = messages().find(chosen, _FIELDS).sort("created_at", -1).limit(limit)
    return [_judged(message) for message in found]


@mongo_errors
def count_judged_replies(
    kind: Quality, start: datetime, end: datetime, *, owner_id: int | None = None
) -> dict[date, int]:
    """The number of such replies by day (UTC). Raises MongoUnavailable if MongoDB needs too long to count them."""
    day = {"$dateToString": {"format": "%Y-%m-%d", "date": "$created_at"}}
    stages = [{"$match": _chosen(kind, start, end, owner_id)}, {"$group": {"_id": day, "replies": {"$sum": 1}}}]
    return {date.fromisoformat(row["_id"]): row["replies"] for row in messages().aggregate(stages)}


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
    failure = (message.get("failure") or {}).get("code")
    return cast(JudgedReply, {"finish_reason": None, "attempt": 1, **message, "failure": failure, "rating": rating})
