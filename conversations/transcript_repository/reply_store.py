"""The single running reply of a conversation: its claim, and the process that writes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from conversations.documents import ConversationDocument, ReplyDocument
from conversations.transcript_repository.change_numbers import unnumbered_change
from conversations.transcript_repository.collections import WRITTEN_BY, conversations, now, revision_of
from edgechat.stores.mongo import Document, mongo_errors

REPLIES_AT_ONCE = 20
UNKNOWN_AT_ONCE = 1000


@mongo_errors
def claim_reply(conversation: ConversationDocument, reply: ReplyDocument) -> ConversationDocument | None:
    """Claim the conversation for a reply, and, for its first attempt, the next two sequence numbers.

    Returns the conversation after the claim; None if its `revision` has changed, because of another reply or a change
    that a reply depends on.
    """
    fields: Document = {
        "reply": reply,
        "next_seq": conversation["next_seq"] + _seqs_of(reply),
        "message_count": conversation["message_count"] + _seqs_of(reply),
        "revision": conversation.get("revision", 0) + 1,
        "change": unnumbered_change(),
    }
    updated_at = reply["started_at"]
    taken = conversations().update_one(
        {
            "_id": conversation["_id"],
            "owner_id": conversation["owner_id"],
            "reply": None,
            "revision": revision_of(conversation),
            "next_seq": conversation["next_seq"],
        },
        {"$set": fields, "$max": {"updated_at": updated_at}},
    )
    claimed = cast(ConversationDocument, {**conversation, **fields, "updated_at": updated_at})
    return claimed if taken.matched_count else None


@mongo_errors
def undo_claim(
    claimed: ConversationDocument, reply: ReplyDocument, *, before: ConversationDocument | None = None
) -> bool:
    """Undo a claim without stored messages, and its sequence numbers; False if another process has taken it over.

    `before` is the conversation before the claim. Its time, and its place among the owner's conversations, are
    restored, unless the conversation changed, or a device received the claim, in between.
    """
    mine = {
        "_id": claimed["_id"],
        "owner_id": claimed["owner_id"],
        "reply.message_id": reply["message_id"],
        "reply.attempt": reply["attempt"],
        "reply.worker": reply["worker"],
    }
    counts = {"next_seq": -_seqs_of(reply), "message_count": -_seqs_of(reply), "revision": 1}
    restored: list[tuple[str, Any, Any]] = []
    if before is not None:
        restored.append(("change", claimed["change"], before["change"]))
        restored.append(("updated_at", claimed["updated_at"], before["updated_at"]))
    for unchanged in (restored, restored[:1], restored[1:], []):
        as_claimed = {name: value for name, value, _ in unchanged}
        as_before = {name: value for name, _, value in unchanged}
        fields = {"reply": None, "change": unnumbered_change(), **as_before}
        undone = conversations().update_one({**mine, **as_claimed}, {"$set": fields, "$inc": counts})
        if undone.matched_count:
            return True
    return False


@mongo_errors
def release_reply(owner_id: int, conversation_id: str, reply: ReplyDocument, *, complete: bool = False) -> bool:
    """Free the conversation for the next reply; False if this attempt no longer holds the claim.

    A complete reply gives an untitled conversation its first title, unless the user removed the title.
    """
    mine = {
        "_id": conversation_id,
        "owner_id": owner_id,
        "reply.message_id": reply["message_id"],
        "reply.attempt": reply["attempt"],
    }
    first_title = reply.get("first_title") if complete else None
    fields: Document = {"reply": None, "change": unnumbered_change()}
    more: Document = {"$max": {"updated_at": now()}, "$inc": {"revision": 1}}
    if first_title is not None:
        untitled = {**mine, "title": None, "title_set_by_user": False}
        titled = conversations().update_one(untitled, {"$set": {**fields, "title": first_title}, **more})
        if titled.matched_count:
            return True
    released = conversations().update_one(mine, {"$set": fields, **more})
    return released.matched_count == 1


@mongo_errors
def request_stop(owner_id: int, conversation_id: str, *, mid: str, attempt: int) -> int | None:
    """Store a stop request for the process that writes a running reply, or takes it over.

    Returns the running attempt: the one that the user saw, or the one that replaced it when its process died. None if
    that answer has ended; then nothing is stored, because a regenerated answer is not to be stopped.
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
    """(message, attempt) of this worker's replies, of all owners, for which a user requested a stop."""
    asked = {"reply.worker": worker, "reply.stop_requested": True}
    fields = {"reply.message_id": 1, "reply.attempt": 1}
    found = conversations().find(asked, fields).hint(WRITTEN_BY)
    return {(each["reply"]["message_id"], each["reply"]["attempt"]) for each in found}


@mongo_errors
def find_unknown_workers(*, known: list[str]) -> set[str]:
    """Processes that running replies name and `known` lacks; only some of them if there are very many."""
    strange = {"reply.worker": {"$exists": True, "$nin": known}}
    found = conversations().find(strange, {"reply.worker": 1}).hint(WRITTEN_BY).limit(UNKNOWN_AT_ONCE)
    return {conversation["reply"]["worker"] for conversation in found}


@mongo_errors
def find_replies_of(worker: str, *, limit: int) -> Iterator[ConversationDocument]:
    """Conversations of all owners whose running reply this worker writes; a few in memory at a time."""
    found = conversations().find({"reply.worker": worker}).hint(WRITTEN_BY).limit(limit)
    yield from cast("Iterator[ConversationDocument]", found.batch_size(REPLIES_AT_ONCE))


@mongo_errors
def find_running_replies(*, limit: int) -> list[ConversationDocument]:
    """Conversations of all owners that have a running reply, for operators."""
    found = conversations().find({"reply.worker": {"$exists": True}}, {"reply.user_message": 0}).limit(limit)
    return cast("list[ConversationDocument]", list(found))


@mongo_errors
def take_reply(owner_id: int, conversation_id: str, reply: ReplyDocument, *, worker: str) -> bool:
    """Take a dead worker's reply over by compare-and-set.

    False if another process was faster, the reply has ended, or a stop was requested since it was read.
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
    """Increment the attempt to `reply`'s, if its worker still holds the lease of the previous attempt."""
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


def _seqs_of(reply: ReplyDocument) -> int:
    """The number of sequence numbers that the claim takes: a later attempt reuses those of its exchange."""
    return 2 if reply["attempt"] == 1 else 0
