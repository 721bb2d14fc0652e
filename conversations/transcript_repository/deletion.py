"""Deleting conversations, so that nothing is left behind whenever a process dies."""

from __future__ import annotations

from datetime import datetime
from typing import cast

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
from conversations.transcript_repository.message_store import delete_messages
from edgechat.stores.mongo import Document, mongo_errors

_KEYS_AT_ONCE = 1000


@mongo_errors
def delete_conversation(owner_id: int, conversation_id: str) -> bool:
    """Delete a conversation with its messages and leave a tombstone; False if there is none.

    The tombstone comes first and remembers what is left to do, so a process that dies here leaves nothing behind.
    """
    found = conversations().find_one({"_id": conversation_id, "owner_id": owner_id}, {"next_seq": 1, "temporary": 1})
    if found is None:
        return False
    tombstone = {
        "owner_id": owner_id,
        "temporary": found["temporary"],  # other devices were never told of those
        "change": unnumbered_change(),
        "last_seq": found["next_seq"] - 1,
        "deleted_at": now(),
        "purged": False,
    }
    tombstones().update_one({"_id": conversation_id}, {"$setOnInsert": tombstone}, upsert=True)
    deleted = _take_away(owner_id, conversation_id)
    if deleted is None:
        return False  # another call deletes it, and knows whether a reply was being written
    _purge(owner_id, conversation_id, deleted["next_seq"] - 1, is_last=deleted["reply"] is None)
    return True


@mongo_errors
def purge_deleted(*, older_than: datetime) -> int:
    """Finish deletions that were begun before `older_than` and did not end; how many."""
    unfinished = list(tombstones().find({"purged": False, "deleted_at": {"$lt": older_than}}).limit(100))
    for tombstone in unfinished:
        _purge_tombstone(tombstone)
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
def everything_of(owner_id: int) -> list[tuple[str, int]]:
    """(id, last seq) of each conversation that a user has, or deleted in the last 30 days."""
    live = conversations().find({"owner_id": owner_id}, {"next_seq": 1})
    deleted = tombstones().find({"owner_id": owner_id}, {"last_seq": 1})
    return [(found["_id"], found["next_seq"] - 1) for found in live] + [
        (found["_id"], found["last_seq"]) for found in deleted
    ]


@mongo_errors
def delete_everything_of(owner_id: int) -> None:
    """Delete all that a user has here, tombstones included."""
    while found := list(conversations().find({"owner_id": owner_id}, {"_id": 1}).limit(100)):
        for conversation in found:
            delete_conversation(owner_id, conversation["_id"])
    for tombstone in list(tombstones().find({"owner_id": owner_id, "purged": False})):
        _purge_tombstone(tombstone)
    messages().delete_many({"owner_id": owner_id})
    tombstones().delete_many({"owner_id": owner_id})
    owners().delete_one({"_id": owner_id})


def _take_away(owner_id: int, conversation_id: str) -> Document | None:
    """Delete the conversation's own document; what it was, or None if there is none.

    By compare-and-set on its revision, so that no reply is claimed unseen between the reading and the deleting.
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
    deleted = _take_away(owner_id, conversation_id)
    _purge(owner_id, conversation_id, deleted["next_seq"] - 1 if deleted else tombstone["last_seq"], is_last=True)


def _purge(owner_id: int, conversation_id: str, last_seq: int, *, is_last: bool) -> None:
    """Delete a conversation's messages; not for the last time while those of a reply may still be on their way."""
    for first in range(1, last_seq + 1, _KEYS_AT_ONCE):
        delete_messages(owner_id, conversation_id, range(first, min(first + _KEYS_AT_ONCE, last_seq + 1)))
    # A device may have been told of the deletion first, and of a last change after it: the deletion is told once more.
    done = {"purged": is_last, "last_seq": last_seq, "change": unnumbered_change()}
    tombstones().update_one({"_id": conversation_id}, {"$set": done})
