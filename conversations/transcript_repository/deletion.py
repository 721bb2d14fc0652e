"""Deletion of conversations. Another process finishes a deletion whose process died."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from pymongo.collection import Collection

from conversations.documents import ConversationDocument
from conversations.transcript_repository.change_numbers import unnumbered_change
from conversations.transcript_repository.collections import (
    conversations,
    messages,
    now,
    owners,
    revision_of,
    tombstones,
)
from conversations.transcript_repository.message_store import delete_all_messages
from edgechat.stores.mongo import Document, mongo_errors

MAX_COUNTED = 1000
_AT_ONCE = 100


def delete_conversation(owner_id: int, conversation_id: str) -> bool:
    """Delete a conversation with its messages and leave a tombstone; False if it does not exist.

    The tombstone is written first and records the remaining work, so that another process can finish it.
    """
    if not _leave_tombstone(owner_id, conversation_id):
        return False
    deleted = _remove(owner_id, conversation_id)
    if deleted is None:
        return False  # another call deletes it and knows whether a reply was running
    _purge(owner_id, conversation_id, deleted["next_seq"] - 1, is_last=deleted["reply"] is None)
    return True


@mongo_errors
def _leave_tombstone(owner_id: int, conversation_id: str) -> bool:
    found = conversations().find_one({"_id": conversation_id, "owner_id": owner_id}, {"next_seq": 1, "temporary": 1})
    if found is None:
        return False
    tombstone = {
        "temporary": found["temporary"],  # other devices never received temporary conversations
        "change": unnumbered_change(),
        "last_seq": found["next_seq"] - 1,
        "deleted_at": now(),
        "purged": False,
    }
    mine = {"_id": conversation_id, "owner_id": owner_id}
    tombstones().update_one(mine, {"$setOnInsert": tombstone}, upsert=True)
    return True


def purge_deleted(*, older_than: datetime) -> int:
    """Finish deletions that started before `older_than` and did not end; their number."""
    unfinished = _some(tombstones(), {"purged": False, "deleted_at": {"$lt": older_than}})
    for tombstone in unfinished:
        _purge_tombstone(tombstone)
    return len(unfinished)


@mongo_errors
def count_unpurged() -> int:
    """How many deletions of conversations have not ended; MAX_COUNTED at most."""
    return tombstones().count_documents({"purged": False}, limit=MAX_COUNTED)


def expire_temporary() -> int:
    """Delete the expired temporary conversations of all owners; their number.

    The server's own expiry follows an hour later as a fallback, because it leaves no tombstones for other devices.
    """
    expired = _some(conversations(), {"expires_at": {"$lte": now()}})
    for conversation in expired:
        delete_conversation(conversation["owner_id"], conversation["_id"])
    return len(expired)


@mongo_errors
def everything_of(owner_id: int) -> list[tuple[str, int]]:
    """(id, last seq) of each conversation that a user has or has deleted in the last 30 days."""
    live = conversations().find({"owner_id": owner_id}, {"next_seq": 1})
    deleted = tombstones().find({"owner_id": owner_id}, {"last_seq": 1})
    return [(found["_id"], found["next_seq"] - 1) for found in live] + [
        (found["_id"], found["last_seq"]) for found in deleted
    ]


def delete_everything_of(owner_id: int) -> None:
    """Delete all documents of a user, including tombstones. A call that fails has deleted some of them."""
    mine = {"owner_id": owner_id}
    while found := _some(conversations(), mine):
        for conversation in found:
            delete_conversation(owner_id, conversation["_id"])
    while found := _some(tombstones(), {**mine, "purged": False}):
        for tombstone in found:
            _purge_tombstone(tombstone)
    for collection in (messages(), tombstones()):
        while found := _some(collection, mine):
            _delete(collection, {**mine, "_id": {"$in": [each["_id"] for each in found]}})
    _delete(owners(), {"_id": owner_id})


@mongo_errors
def _some(collection: Collection[Document], chosen: Document) -> list[Document]:
    """What a deletion needs to know of some of the chosen documents."""
    return list(collection.find(chosen, {"owner_id": 1, "last_seq": 1}).limit(_AT_ONCE))


@mongo_errors
def _delete(collection: Collection[Document], chosen: Document) -> None:
    collection.delete_many(chosen)


@mongo_errors
def _remove(owner_id: int, conversation_id: str) -> Document | None:
    """Delete and return the conversation's document; None if it does not exist.

    A compare-and-set on the revision detects a reply that is claimed between the read and the deletion.
    """
    while True:
        found = conversations().find_one({"_id": conversation_id, "owner_id": owner_id})
        if found is None:
            return None
        revision = revision_of(cast(ConversationDocument, found))
        chosen = {"_id": conversation_id, "owner_id": owner_id, "revision": revision}
        if conversations().delete_one(chosen).deleted_count:
            return found


def _purge_tombstone(tombstone: Document) -> None:
    owner_id, conversation_id = tombstone["owner_id"], tombstone["_id"]
    deleted = _remove(owner_id, conversation_id)
    _purge(owner_id, conversation_id, deleted["next_seq"] - 1 if deleted else tombstone["last_seq"], is_last=True)


def _purge(owner_id: int, conversation_id: str, last_seq: int, *, is_last: bool) -> None:
    """Delete a conversation's messages; `is_last` is false while a reply may still write messages."""
    delete_all_messages(owner_id, conversation_id, last_seq)
    _end(owner_id, conversation_id, last_seq, is_last=is_last)


@mongo_errors
def _end(owner_id: int, conversation_id: str, last_seq: int, *, is_last: bool) -> None:
    # A device may have received the deletion before a last change; the new change number reports the deletion again.
    done = {"purged": is_last, "last_seq": last_seq, "change": unnumbered_change()}
    tombstones().update_one({"_id": conversation_id, "owner_id": owner_id}, {"$set": done})
