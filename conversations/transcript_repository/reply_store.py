"""The one running reply that a conversation may have: claiming the place for it, and who writes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from conversations.documents import ConversationDocument, ReplyDocument, reply_seq
from conversations.transcript_repository.change_numbers import unnumbered_change
from conversations.transcript_repository.collections import WRITTEN_BY, conversations, now
from conversations.transcript_repository.message_store import delete_messages
from edgechat.mongo import Document, mongo_errors

REPLIES_AT_ONCE = 20
UNKNOWN_AT_ONCE = 1000


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
def undo_claim(owner_id: int, conversation_id: str, reply: ReplyDocument) -> None:
    """Take back the claim of a first attempt whose messages can't be stored, and its sequence numbers with it."""
    seq = reply_seq(reply)
    delete_messages(owner_id, conversation_id, (seq - 1, seq))
    conversations().update_one(
        {
            "_id": conversation_id,
            "owner_id": owner_id,
            "reply.message_id": reply["message_id"],
            "reply.attempt": reply["attempt"],
            "next_seq": seq + 1,
        },
        {
            "$inc": {"next_seq": -2, "message_count": -2},
            "$set": {"reply": None, "change": unnumbered_change()},
            "$max": {"updated_at": now()},
        },
    )


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
def request_stop(owner_id: int, conversation_id: str, *, mid: str, attempt: int) -> int | None:
    """Note that a running reply is to be stopped, for the process that writes it and for whoever takes it over.

    The attempt that runs: the one that the user saw, or the one that took its place when its process died. None, and
    nothing is noted, when that answer has ended: one that is written anew since is not meant.
    """
    running: Document = {
        "_id": conversation_id,
        "owner_id": owner_id,
        "reply.message_id": mid,
        "reply.first_attempt": {"$lte": attempt},
        "reply.attempt": {"$gte": attempt},
    }
    conversations().update_one(running, {"$set": {"reply.stop_requested": True}})
    conversation = conversations().find_one(running, {"reply.attempt": 1})
    return None if conversation is None else int(conversation["reply"]["attempt"])


@mongo_errors
def find_stop_requests(*, worker: str) -> set[tuple[str, int]]:
    """(message, attempt) of the replies, of whatever owners, that this worker writes and a user wants stopped."""
    asked = {"reply.worker": worker, "reply.stop_requested": True}
    fields = {"reply.message_id": 1, "reply.attempt": 1}
    found = conversations().find(asked, fields).hint(WRITTEN_BY)
    return {(each["reply"]["message_id"], each["reply"]["attempt"]) for each in found}


@mongo_errors
def find_unknown_workers(*, known: list[str]) -> set[str]:
    """Processes that running replies name and that are not among the known; some of them, where there are very many."""
    strange = {"reply.worker": {"$exists": True, "$nin": known}}
    found = conversations().find(strange, {"reply.worker": 1}).hint(WRITTEN_BY).limit(UNKNOWN_AT_ONCE)
    return {conversation["reply"]["worker"] for conversation in found}


@mongo_errors
def find_replies_of(worker: str, *, limit: int) -> Iterator[ConversationDocument]:
    """Conversations of all owners whose running reply this worker writes; a few in memory at once."""
    found = conversations().find({"reply.worker": worker}).hint(WRITTEN_BY).limit(limit)
    yield from cast("Iterator[ConversationDocument]", found.batch_size(REPLIES_AT_ONCE))


@mongo_errors
def find_running_replies(*, limit: int) -> list[ConversationDocument]:
    """Conversations of all owners in which a reply is being written, for operators."""
    found = conversations().find({"reply.worker": {"$exists": True}}, {"reply.user_message": 0}).limit(limit)
    return cast("list[ConversationDocument]", list(found))


@mongo_errors
def take_reply(owner_id: int, conversation_id: str, reply: ReplyDocument, *, worker: str) -> bool:
    """Take a dead worker's reply, by compare-and-set; False if another was faster, it has ended, or somebody wants it
    stopped since it was read.
    """
    result = conversations().update_one(
        {
            "_id": conversation_id,
            "owner_id": owner_id,
            "reply.message_id": reply["message_id"],
            "reply.attempt": reply["attempt"],
            "reply.worker": reply["worker"],
            "reply.stop_requested": reply["stop_requested"],
        },
        {"$set": {"reply.worker": worker}},
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
        {"$set": {"reply.attempt": reply["attempt"], "reply.ledger_id": reply["ledger_id"]}},
    )
    return result.matched_count == 1
