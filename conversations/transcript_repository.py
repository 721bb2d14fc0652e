"""Transcripts in MongoDB: the only module that touches its collections.

The owner's id is each method's first argument and part of each filter, so another user's conversation is absent.
Every method raises MongoUnavailable when the server does not answer.

Only single-document operations are used, for a standalone server has no transactions: a reader may see a conversation
whose newest two messages are not there yet. Whoever finds a `reply` in a conversation can write them again from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from bson import ObjectId
from django.utils import timezone
from pymongo import ReturnDocument, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from conversations.documents import (
    CONVERSATION_VERSION,
    MESSAGE_VERSION,
    ConversationDocument,
    MessageDocument,
    ReplyDocument,
    message_id,
    reply_seq,
)
from edgechat.mongo import Document, database, mongo_errors

TOMBSTONE_SECONDS = 30 * 24 * 3600
_KEYS_AT_ONCE = 1000
# Keeps a message, with texts of the greatest length, well below the 16 MB of a document.
MAX_VARIANTS = 50

# What lists and lookups return; the draft in `reply` can be as long as a message.
_WITHOUT_DRAFT = {"reply.user_message": 0}


def _conversations() -> Collection[Document]:
    return database()["conversations"]


def _messages() -> Collection[Document]:
    return database()["messages"]


def _tombstones() -> Collection[Document]:
    return database()["tombstones"]


def _owners() -> Collection[Document]:
    return database()["owners"]


def now() -> datetime:
    """MongoDB keeps milliseconds; what is answered now must equal what is read later."""
    moment = timezone.now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@mongo_errors
def ensure_indexes() -> list[str]:
    """Make every index that is missing; the names of all."""
    conversations, messages, tombstones = _conversations(), _messages(), _tombstones()
    return [
        conversations.create_index([("owner_id", 1), ("change", -1)], name="owner_change"),
        conversations.create_index([("owner_id", 1), ("archived", 1), ("change", -1)], name="owner_archived_change"),
        conversations.create_index(
            [("owner_id", 1), ("archived", 1), ("pinned", -1), ("change", -1)], name="owner_archived_pinned_change"
        ),
        conversations.create_index(
            [("reply.lease_until", 1)],
            name="lease",
            partialFilterExpression={"reply.lease_until": {"$exists": True}},
        ),
        conversations.create_index([("expires_at", 1)], name="temporary_ttl", expireAfterSeconds=0),
        messages.create_index(
            [("owner_id", 1), ("conversation_id", 1), ("client_message_id", 1)],
            name="client_message_once",
            unique=True,
            partialFilterExpression={"client_message_id": {"$type": "string"}},
        ),
        tombstones.create_index([("owner_id", 1), ("change", 1)], name="owner_change"),
        tombstones.create_index([("purged", 1), ("deleted_at", 1)], name="unpurged"),
        tombstones.create_index([("deleted_at", 1)], name="tombstone_ttl", expireAfterSeconds=TOMBSTONE_SECONDS),
    ]


# --- Conversations ---------------------------------------------------------------------------------------------------


@mongo_errors
def insert_conversation(
    owner_id: int,
    *,
    title: str | None = None,
    system_instruction: str | None = None,
    organization_id: int | None = None,
    temporary: bool = False,
) -> ConversationDocument:
    created_at = now()
    document: ConversationDocument = {
        "_id": str(ObjectId()),
        "version": CONVERSATION_VERSION,
        "owner_id": owner_id,
        "organization_id": organization_id,
        "title": title,
        "title_set_by_user": title is not None,
        "system_instruction": system_instruction,
        "pinned": False,
        "archived": False,
        "temporary": temporary,
        "next_seq": 1,
        "message_count": 0,
        "summary": None,
        "reply": None,
        "change": _next_change(owner_id),
        "created_at": created_at,
        "updated_at": created_at,
    }
    _conversations().insert_one(cast(Document, document))
    return document


@mongo_errors
def find_conversation(owner_id: int, conversation_id: str) -> ConversationDocument | None:
    found = _conversations().find_one({"_id": conversation_id, "owner_id": owner_id})
    return cast("ConversationDocument | None", found)


@mongo_errors
def list_conversations(
    owner_id: int, *, limit: int, skip: int = 0, before_change: int | None = None, archived: bool = False
) -> list[ConversationDocument]:
    """The latest changed first, up to `limit`; those changed before a change number, or behind `skip` others."""
    chosen: Document = {"owner_id": owner_id, "archived": archived}
    if before_change is not None:
        chosen["change"] = {"$lt": before_change}
    found = _conversations().find(chosen, _WITHOUT_DRAFT).sort("change", -1).skip(skip).limit(limit)
    return cast("list[ConversationDocument]", list(found))


@mongo_errors
def claim_reply(
    owner_id: int, conversation_id: str, *, expected_next_seq: int, reply: ReplyDocument
) -> ConversationDocument | None:
    """Take the conversation's next two sequence numbers and its one place for a running reply.

    None if another request was faster: a reply is being written, or the numbers are taken.
    """
    claimed = _conversations().find_one_and_update(
        {"_id": conversation_id, "owner_id": owner_id, "reply": None, "next_seq": expected_next_seq},
        {
            "$inc": {"next_seq": 2, "message_count": 2},
            "$set": {"reply": reply, "updated_at": reply["started_at"]},
            "$max": {"change": _next_change(owner_id)},
        },
        return_document=ReturnDocument.AFTER,
    )
    return cast("ConversationDocument | None", claimed)


@mongo_errors
def claim_regeneration(
    owner_id: int, conversation_id: str, *, expected_next_seq: int, reply: ReplyDocument
) -> ConversationDocument | None:
    """Take the conversation's one place for a running reply, for its last exchange once more; None as above."""
    claimed = _conversations().find_one_and_update(
        {"_id": conversation_id, "owner_id": owner_id, "reply": None, "next_seq": expected_next_seq},
        {
            "$set": {"reply": reply, "updated_at": reply["started_at"]},
            "$max": {"change": _next_change(owner_id)},
        },
        return_document=ReturnDocument.AFTER,
    )
    return cast("ConversationDocument | None", claimed)


@mongo_errors
def request_stop(owner_id: int, conversation_id: str, *, mid: str) -> None:
    """Note that a running reply is to be stopped, for the process that writes it and for whoever takes it over."""
    _conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id, "reply.message_id": mid},
        {"$set": {"reply.stop_requested": True}},
    )


# --- Leases ----------------------------------------------------------------------------------------------------------


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
    _conversations().update_many(mine, {"$set": {"reply.lease_until": lease_until}})
    found = list(_conversations().find(mine, {"reply.stop_requested": 1}))
    held = {conversation["_id"] for conversation in found}
    return held, {conversation["_id"] for conversation in found if conversation["reply"]["stop_requested"]}


@mongo_errors
def end_lease(owner_id: int, conversation_id: str, *, worker: str) -> None:
    """Let the next process that looks take this worker's reply over."""
    _conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id, "reply.worker": worker},
        {"$set": {"reply.lease_until": now(), "reply.worker": ""}},
    )


@mongo_errors
def find_expired_leases(moment: datetime, *, limit: int) -> list[ConversationDocument]:
    """Conversations of all owners whose running reply has lost its process."""
    found = _conversations().find({"reply.lease_until": {"$lt": moment}}).limit(limit)
    return cast("list[ConversationDocument]", list(found))


@mongo_errors
def find_running_replies(*, limit: int) -> list[ConversationDocument]:
    """Conversations of all owners in which a reply is being written, for operators."""
    found = _conversations().find({"reply.lease_until": {"$exists": True}}, _WITHOUT_DRAFT).limit(limit)
    return cast("list[ConversationDocument]", list(found))


@mongo_errors
def take_lease(
    owner_id: int, conversation_id: str, reply: ReplyDocument, *, worker: str, lease_until: datetime
) -> bool:
    """Take a lease that has run out, by compare-and-set; False if it was renewed, taken or given up meanwhile."""
    result = _conversations().update_one(
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
    result = _conversations().update_one(
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


@mongo_errors
def release_reply(owner_id: int, conversation_id: str, *, mid: str, attempt: int) -> None:
    """Free the conversation for the next reply, if it is still this attempt's."""
    _conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id, "reply.message_id": mid, "reply.attempt": attempt},
        {"$set": {"reply": None, "updated_at": now()}, "$max": {"change": _next_change(owner_id)}},
    )


# --- Messages --------------------------------------------------------------------------------------------------------


@mongo_errors
def prepare_messages(owner_id: int, conversation_id: str, reply: ReplyDocument) -> None:
    """Bring both messages to where a claimed reply begins; any process may do it, as often as it likes.

    Missing ones are written. A message of an earlier attempt is begun anew: what was there before is kept among its
    variants, but for a reply that is only begun again because its process died.
    """
    draft = reply["user_message"]
    seq = reply_seq(reply)
    user_message = _new_message(owner_id, conversation_id, seq - 1, reply["started_at"])
    user_message.update(
        role="user",
        content=draft["content"],
        attachments=draft["attachments"],
        client_message_id=draft["client_message_id"],
        body_hash=draft["body_hash"],
    )
    model_message = _new_message(owner_id, conversation_id, seq, reply["started_at"])
    model_message.update(status="generating", attempt=reply["attempt"])
    _messages().bulk_write(
        [
            UpdateOne({"_id": message["_id"]}, {"$setOnInsert": _without_id(message)}, upsert=True)
            for message in (user_message, model_message)
        ]
    )
    if reply["attempt"] == 1:
        return
    question, answer = find_messages(owner_id, conversation_id, (seq - 1, seq))
    if question["content"] != draft["content"]:
        _messages().update_one(
            {"_id": question["_id"], "owner_id": owner_id, "content": question["content"]},
            {"$set": {"content": draft["content"], "variants": _with_variant(question)}},
        )
    if answer["attempt"] < reply["attempt"]:
        anew: Document = {"attempt": reply["attempt"], "status": "generating", "content": ""}
        if answer["status"] != "generating":
            anew |= {"finish_reason": None, "failure": None, "usage": None, "feedback": None, "outbox": None}
            anew["variants"] = _with_variant(answer)
        _messages().update_one(
            {"_id": answer["_id"], "owner_id": owner_id, "attempt": answer["attempt"], "status": answer["status"]},
            {"$set": anew},
        )


def _with_variant(message: MessageDocument) -> list[dict[str, Any]]:
    """A message's variants with what it says now, if anything; the oldest of too many is dropped."""
    if not message["content"]:
        return message["variants"]
    said_now = {name: message[name] for name in ("content", "finish_reason", "created_at")}
    return [*message["variants"], said_now][-MAX_VARIANTS:]


@mongo_errors
def find_messages(owner_id: int, conversation_id: str, seqs: Iterable[int]) -> list[MessageDocument]:
    """The messages with these sequence numbers, in order; those that are not there are left out."""
    keys = [message_id(conversation_id, seq) for seq in seqs]
    if not keys:
        return []
    found = list(_messages().find({"_id": {"$in": keys}, "owner_id": owner_id}))
    return cast("list[MessageDocument]", sorted(found, key=lambda message: int(message["seq"])))


@mongo_errors
def find_message_by_client_id(owner_id: int, conversation_id: str, client_message_id: str) -> MessageDocument | None:
    found = _messages().find_one(
        {"owner_id": owner_id, "conversation_id": conversation_id, "client_message_id": client_message_id}
    )
    return cast("MessageDocument | None", found)


@mongo_errors
def save_snapshot(owner_id: int, mid: str, *, attempt: int, content: str) -> bool:
    """Keep a running reply's text so far; False if this attempt no longer writes it."""
    result = _messages().update_one(
        {"_id": mid, "owner_id": owner_id, "status": "generating", "attempt": attempt},
        {"$set": {"content": content}},
    )
    return result.matched_count == 1


@mongo_errors
def finish_message(owner_id: int, mid: str, *, attempt: int, final: Mapping[str, Any]) -> bool:
    """End a running reply by compare-and-set; False if somebody else has ended it or taken it over.

    The same write leaves `reply_finished` in the outbox.
    """
    outbox = {"event": "reply_finished", "at": now()}
    result = _messages().update_one(
        {"_id": mid, "owner_id": owner_id, "status": "generating", "attempt": attempt},
        {"$set": {**final, "outbox": outbox}},
    )
    return result.matched_count == 1


# --- Deletion --------------------------------------------------------------------------------------------------------


@mongo_errors
def delete_conversation(owner_id: int, conversation_id: str) -> bool:
    """Delete a conversation with its messages and leave a tombstone; False if there is none.

    The tombstone comes first and remembers what is left to do, so a process that dies here leaves nothing behind.
    """
    found = _conversations().find_one({"_id": conversation_id, "owner_id": owner_id}, {"next_seq": 1})
    if found is None:
        return False
    tombstone = {
        "owner_id": owner_id,
        "change": _next_change(owner_id),
        "last_seq": found["next_seq"] - 1,
        "deleted_at": now(),
        "purged": False,
    }
    _tombstones().update_one({"_id": conversation_id}, {"$setOnInsert": tombstone}, upsert=True)
    return _purge(owner_id, conversation_id, found["next_seq"] - 1)


@mongo_errors
def purge_deleted(*, older_than: datetime) -> int:
    """Finish deletions that were begun before `older_than` and did not end; how many."""
    unfinished = list(_tombstones().find({"purged": False, "deleted_at": {"$lt": older_than}}).limit(100))
    for tombstone in unfinished:
        _purge(tombstone["owner_id"], tombstone["_id"], tombstone["last_seq"])
    return len(unfinished)


@mongo_errors
def delete_everything_of(owner_id: int) -> None:
    """Delete all that a user has here, tombstones included."""
    while found := list(_conversations().find({"owner_id": owner_id}, {"_id": 1}).limit(100)):
        for conversation in found:
            delete_conversation(owner_id, conversation["_id"])
    for tombstone in list(_tombstones().find({"owner_id": owner_id, "purged": False})):
        _purge(owner_id, tombstone["_id"], tombstone["last_seq"])
    _messages().delete_many({"owner_id": owner_id})
    _tombstones().delete_many({"owner_id": owner_id})
    _owners().delete_one({"_id": owner_id})


@mongo_errors
def delete_messages(owner_id: int, conversation_id: str, seqs: Iterable[int]) -> None:
    keys = [message_id(conversation_id, seq) for seq in seqs]
    _messages().delete_many({"_id": {"$in": keys}, "owner_id": owner_id})


def _purge(owner_id: int, conversation_id: str, last_seq: int) -> bool:
    deleted = _conversations().find_one_and_delete({"_id": conversation_id, "owner_id": owner_id})
    # A reply may have been claimed since the tombstone was written.
    last = max(last_seq, deleted["next_seq"] - 1 if deleted else 0)
    for first in range(1, last + 1, _KEYS_AT_ONCE):
        delete_messages(owner_id, conversation_id, range(first, min(first + _KEYS_AT_ONCE, last + 1)))
    _tombstones().update_one({"_id": conversation_id}, {"$set": {"purged": True}})
    return deleted is not None


def _new_message(owner_id: int, conversation_id: str, seq: int, created_at: datetime) -> Document:
    return {
        "_id": message_id(conversation_id, seq),
        "version": MESSAGE_VERSION,
        "conversation_id": conversation_id,
        "owner_id": owner_id,
        "seq": seq,
        "role": "model",
        "content": "",
        "status": "complete",
        "attempt": 0,
        "attachments": [],
        "client_message_id": None,
        "body_hash": None,
        "finish_reason": None,
        "failure": None,
        "usage": None,
        "feedback": None,
        "variants": [],
        "outbox": None,
        "created_at": created_at,
    }


def _without_id(message: Document) -> Document:
    return {name: value for name, value in message.items() if name != "_id"}


def _next_change(owner_id: int) -> int:
    """The owner's next change number."""
    counter: Document | None = None
    while counter is None:
        try:
            counter = _owners().find_one_and_update(
                {"_id": owner_id}, {"$inc": {"change": 1}}, upsert=True, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:  # an owner's first change, made twice at once
            continue
    return int(counter["change"])
