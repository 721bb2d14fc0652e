"""Deleting conversations, so that nothing is left behind whenever a process dies."""

from __future__ import annotations

from datetime import datetime

from conversations.transcript_repository.collections import (
    conversations,
    messages,
    now,
    numbered_change,
    owners,
    tombstones,
)
from conversations.transcript_repository.message_store import delete_messages
from edgechat.mongo import mongo_errors

_KEYS_AT_ONCE = 1000


@mongo_errors
def delete_conversation(owner_id: int, conversation_id: str) -> bool:
    """Delete a conversation with its messages and leave a tombstone; False if there is none.

    The tombstone comes first and remembers what is left to do, so a process that dies here leaves nothing behind.
    """
    found = conversations().find_one({"_id": conversation_id, "owner_id": owner_id}, {"next_seq": 1})
    if found is None:
        return False
    with numbered_change(owner_id) as change:
        tombstone = {
            "owner_id": owner_id,
            "change": change,
            "last_seq": found["next_seq"] - 1,
            "deleted_at": now(),
            "purged": False,
        }
        tombstones().update_one({"_id": conversation_id}, {"$setOnInsert": tombstone}, upsert=True)
        # Inside the change: a device that was told of the deletion must not be told of a later change before it.
        deleted = conversations().find_one_and_delete({"_id": conversation_id, "owner_id": owner_id})
    # A reply may have been claimed since the tombstone was written.
    last_seq = (deleted or found)["next_seq"] - 1
    _purge(owner_id, conversation_id, last_seq)
    return deleted is not None


@mongo_errors
def purge_deleted(*, older_than: datetime) -> int:
    """Finish deletions that were begun before `older_than` and did not end; how many."""
    unfinished = list(tombstones().find({"purged": False, "deleted_at": {"$lt": older_than}}).limit(100))
    for tombstone in unfinished:
        _purge(tombstone["owner_id"], tombstone["_id"], tombstone["last_seq"])
    return len(unfinished)


@mongo_errors
def expire_temporary() -> int:
    """Delete temporary conversations whose time is over, of all owners; how many.

    The server's own expiry is a second line, an hour later: it leaves no tombstones for other devices.
    """
    expired = list(conversations().find({"expires_at": {"$lte": now()}}, {"owner_id": 1}).limit(100))
    for conversation in expired:
        delete_conversation(conversation["owner_id"], conversation["_id"])
    return len(expired)


@mongo_errors
def delete_everything_of(owner_id: int) -> None:
    """Delete all that a user has here, tombstones included."""
    while found := list(conversations().find({"owner_id": owner_id}, {"_id": 1}).limit(100)):
        for conversation in found:
            delete_conversation(owner_id, conversation["_id"])
    for tombstone in list(tombstones().find({"owner_id": owner_id, "purged": False})):
        _purge(owner_id, tombstone["_id"], tombstone["last_seq"])
    messages().delete_many({"owner_id": owner_id})
    tombstones().delete_many({"owner_id": owner_id})
    owners().delete_one({"_id": owner_id})


def _purge(owner_id: int, conversation_id: str, last_seq: int) -> None:
    """Delete what a tombstone stands for."""
    deleted = conversations().find_one_and_delete({"_id": conversation_id, "owner_id": owner_id})
    last = max(last_seq, deleted["next_seq"] - 1 if deleted else 0)
    for first in range(1, last + 1, _KEYS_AT_ONCE):
        delete_messages(owner_id, conversation_id, range(first, min(first + _KEYS_AT_ONCE, last + 1)))
    tombstones().update_one({"_id": conversation_id}, {"$set": {"purged": True}})
