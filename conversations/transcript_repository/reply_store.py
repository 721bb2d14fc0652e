"""The one running reply that a conversation may have: claiming the place for it, and the lease of who writes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from conversations.documents import ConversationDocument, ReplyDocument
from conversations.transcript_repository.change_numbers import unnumbered_change
from conversations.transcript_repository.collections import conversations, now
from conversations.transcript_repository.conversation_store import WITHOUT_DRAFT
from edgechat.mongo import Document, mongo_errors

# SecantusDB compares each document with each id of an `$in`.
_RENEWED_AT_ONCE = 100


@mongo_errors
def claim_reply(conversation: ConversationDocument, reply: ReplyDocument) -> bool:
    """Take the conversation's one place for a running reply, and, for its first attempt, the next two sequence numbers.

    False if the conversation has changed since it was read, which its `change` tells.
    """
    added = 2 if reply["attempt"] == 1 else 0
    claimed = conversations().update_one(
        {
            "_id": conversation["_id"],
            "owner_id": conversation["owner_id"],
            "reply": None,
            "change": conversation["change"],
        },
        {
            "$inc": {"next_seq": added, "message_count": added},
            "$set": {"reply": reply, "updated_at": reply["started_at"], "change": unnumbered_change()},
        },
    )
    return claimed.matched_count == 1


@mongo_errors
def release_reply(
    owner_id: int, conversation_id: str, *, mid: str, attempt: int, first_title: str | None = None
) -> bool:
    """Free the conversation for the next reply; False if it is not this attempt's any more.

    `first_title` becomes the title of a conversation that has none, unless the user took it away.
    """
    mine = {"_id": conversation_id, "owner_id": owner_id, "reply.message_id": mid, "reply.attempt": attempt}
    fields: Document = {"reply": None, "change": unnumbered_change()}
    moment = {"updated_at": now()}
    if first_title is not None:
        titled = conversations().update_one(
            {**mine, "title": None, "title_set_by_user": False},
            {"$set": {**fields, "title": first_title}, "$max": moment},
        )
        if titled.matched_count:
            return True
    released = conversations().update_one(mine, {"$set": fields, "$max": moment})
    return released.matched_count == 1


@mongo_errors
def request_stop(owner_id: int, conversation_id: str, *, mid: str) -> None:
    """Note that a running reply is to be stopped, for the process that writes it and for whoever takes it over."""
    conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id, "reply.message_id": mid},
        {"$set": {"reply.stop_requested": True}},
    )


@mongo_errors
def renew_leases(conversation_ids: Sequence[str], *, worker: str, lease_until: datetime) -> set[str]:
    """Renew this worker's leases in these conversations, of whatever owners; the ids of those that it still holds."""
    collection = conversations(urgent=True)
    held: set[str] = set()
    for first in range(0, len(conversation_ids), _RENEWED_AT_ONCE):
        ids = conversation_ids[first : first + _RENEWED_AT_ONCE]
        mine = {"_id": {"$in": ids}, "reply.worker": worker}
        renewed = collection.update_many(mine, {"$max": {"reply.lease_until": lease_until}})
        if renewed.matched_count == len(ids):
            held.update(ids)
        else:
            held.update(conversation["_id"] for conversation in collection.find(mine, {"_id": 1}))
    return held


@mongo_errors
def find_stop_requests(*, worker: str) -> set[str]:
    """The conversations, of whatever owners, whose reply this worker writes and a user wants stopped."""
    asked = {"reply.lease_until": {"$gt": now()}, "reply.worker": worker, "reply.stop_requested": True}
    return {conversation["_id"] for conversation in conversations(urgent=True).find(asked, {"_id": 1}).hint("lease")}


@mongo_errors
def end_lease(owner_id: int, conversation_id: str, *, worker: str) -> None:
    """Let the next process that looks take this worker's reply over."""
    conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id, "reply.worker": worker},
        {"$min": {"reply.lease_until": now()}, "$set": {"reply.worker": ""}},
    )


@mongo_errors
def find_expired_leases(moment: datetime, *, limit: int) -> list[ConversationDocument]:
    """Conversations of all owners whose running reply has lost its process."""
    found = conversations().find({"reply.lease_until": {"$lt": moment}}).hint("lease").limit(limit)
    return cast("list[ConversationDocument]", list(found))


@mongo_errors
def find_running_replies(*, limit: int) -> list[ConversationDocument]:
    """Conversations of all owners in which a reply is being written, for operators."""
    found = conversations().find({"reply.lease_until": {"$exists": True}}, WITHOUT_DRAFT).limit(limit)
    return cast("list[ConversationDocument]", list(found))


@mongo_errors
def take_lease(
    owner_id: int, conversation_id: str, reply: ReplyDocument, *, worker: str, lease_until: datetime
) -> bool:
    """Take a lease that has run out, by compare-and-set; False if it was renewed, taken or given up meanwhile."""
    result = conversations().update_one(
        {
            "_id": conversation_id,
            "owner_id": owner_id,
            "reply.message_id": reply["message_id"],
            "reply.attempt": reply["attempt"],
            "reply.worker": reply["worker"],
            "reply.lease_until": reply["lease_until"],
        },
        {"$max": {"reply.lease_until": lease_until}, "$set": {"reply.worker": worker}},
    )
    return result.matched_count == 1


@mongo_errors
def begin_attempt(owner_id: int, conversation_id: str, reply: ReplyDocument) -> bool:
    """Count the attempt up to `reply`'s, if its worker still holds the lease of the one before."""
    result = conversations().update_one(
        {
            "_id": conversation_id,
            "owner_id": owner_id,
            "reply.message_id": reply["message_id"],
            "reply.worker": reply["worker"],
            "reply.attempt": reply["attempt"] - 1,
        },
        {"$set": {"reply.attempt": reply["attempt"]}},
    )
    return result.matched_count == 1
