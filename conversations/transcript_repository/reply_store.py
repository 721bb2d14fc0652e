"""The one running reply that a conversation may have: claiming the place for it, and the lease of who writes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from conversations.documents import ConversationDocument, ReplyDocument
from conversations.transcript_repository.collections import conversations, now, numbered_change
from conversations.transcript_repository.conversation_store import WITHOUT_DRAFT, find_conversation
from edgechat.mongo import mongo_errors


@mongo_errors
def claim_reply(
    owner_id: int, conversation_id: str, *, expected_change: int, reply: ReplyDocument
) -> ConversationDocument | None:
    """Take the conversation's one place for a running reply, and, for its first attempt, the next two sequence numbers.

    None if anything about the conversation has changed since it was read.
    """
    added = 2 if reply["attempt"] == 1 else 0
    with numbered_change(owner_id) as change:
        # Not findAndModify: SecantusDB looks through the whole collection for it.
        claimed = conversations().update_one(
            {"_id": conversation_id, "owner_id": owner_id, "reply": None, "change": expected_change},
            {
                "$inc": {"next_seq": added, "message_count": added},
                "$set": {"reply": reply, "updated_at": reply["started_at"]},
                "$max": {"change": change},
            },
        )
    return find_conversation(owner_id, conversation_id) if claimed.matched_count else None


@mongo_errors
def release_reply(owner_id: int, conversation_id: str, *, mid: str, attempt: int) -> None:
    """Free the conversation for the next reply, if it is still this attempt's."""
    with numbered_change(owner_id) as change:
        conversations().update_one(
            {"_id": conversation_id, "owner_id": owner_id, "reply.message_id": mid, "reply.attempt": attempt},
            {"$set": {"reply": None, "updated_at": now()}, "$max": {"change": change}},
        )


@mongo_errors
def request_stop(owner_id: int, conversation_id: str, *, mid: str) -> None:
    """Note that a running reply is to be stopped, for the process that writes it and for whoever takes it over."""
    conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id, "reply.message_id": mid},
        {"$set": {"reply.stop_requested": True}},
    )


@mongo_errors
def renew_leases(owner_ids: Mapping[str, int], *, worker: str, lease_until: datetime) -> tuple[set[str], set[str]]:
    """Renew this worker's leases in these conversations (id to owner).

    Gives the ids of those that it still holds, and of those among them whose reply is to be stopped.
    """
    mine = {
        "_id": {"$in": list(owner_ids)},
        "owner_id": {"$in": list(set(owner_ids.values()))},
        "reply.worker": worker,
    }
    conversations().update_many(mine, {"$set": {"reply.lease_until": lease_until}})
    found = list(conversations().find(mine, {"reply.stop_requested": 1}))
    held = {conversation["_id"] for conversation in found}
    return held, {conversation["_id"] for conversation in found if conversation["reply"]["stop_requested"]}


@mongo_errors
def end_lease(owner_id: int, conversation_id: str, *, worker: str) -> None:
    """Let the next process that looks take this worker's reply over."""
    conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id, "reply.worker": worker},
        {"$set": {"reply.lease_until": now(), "reply.worker": ""}},
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
        {"$set": {"reply.worker": worker, "reply.lease_until": lease_until}},
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
