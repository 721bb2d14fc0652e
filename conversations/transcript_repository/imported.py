"""Imported conversations: the messages are stored first, so a conversation that exists is complete.

`source_key` is the source's id of a conversation, unique for each owner; `import_id` names the import.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import TypedDict, cast

from pymongo import InsertOne, ReplaceOne, ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from conversations.documents import CONVERSATION_VERSION, MESSAGE_VERSION, MessageDocument, Role, Status, message_id
from conversations.transcript_repository.change_numbers import number_changes, unnumbered_change
from conversations.transcript_repository.collections import conversations, messages, owners, tombstones
from conversations.transcript_repository.message_store import delete_messages
from conversations.transcript_repository.writes import DOCUMENTS_PER_WRITE, KEYS_PER_DELETION, in_writes
from edgechat.processes.threads import give_way
from edgechat.stores.mongo import Document, mongo_errors

_DUPLICATE_KEY = 11000


class ImportedConversation(TypedDict):
    """A conversation that an import has stored."""

    _id: str
    import_id: str
    updated_at: datetime


@mongo_errors
def find_imported(owner_id: int, source_key: str, *, ids: Sequence[str] = ()) -> ImportedConversation | None:
    """The owner's conversation that was this one of the source, if it has one of the `ids`; () are all."""
    fields = dict.fromkeys((*ImportedConversation.__annotations__, "source_key"), 1)
    # One id at a time, and the key compared here: SecantusDB looks a document up by its id only for such a filter.
    chosen: list[Document] = [{"_id": each} for each in ids] or [{"source_key": source_key}]
    for each in chosen:
        found = conversations().find_one({**each, "owner_id": owner_id}, fields)
        if found is not None and found.get("source_key") == source_key:
            return cast("ImportedConversation", found)
    return None


@mongo_errors
def is_unused_id(conversation_id: str) -> bool:
    """Whether no user has, or has deleted in the last 30 days, a conversation with this id."""
    return not any(store().find_one({"_id": conversation_id}, {"_id": 1}) for store in (conversations, tombstones))


def imported_message(
    owner_id: int,
    conversation_id: str,
    seq: int,
    *,
    content: str,
    status: Status,
    finish_reason: str | None,
    created_at: datetime,
) -> MessageDocument:
    """A message to store; odd sequence numbers are the user's."""
    role: Role = "user" if seq % 2 else "model"
    return {
        "_id": message_id(conversation_id, seq),
        "version": MESSAGE_VERSION,
        "conversation_id": conversation_id,
        "owner_id": owner_id,
        "seq": seq,
        "role": role,
        "content": content,
        "status": status,
        "attachments": [],
        "client_message_id": None,
        "body_hash": None,
        "finish_reason": finish_reason,
        "usage": None,
        "feedback": None,
        "variants": [],
        "attempt": 1,
        "failure": None,
        "outbox": None,
        "expires_at": None,
        "created_at": created_at,
    }


def store_imported_messages(documents: Sequence[MessageDocument]) -> None:
    """Store messages; those that an interrupted run of the same import has stored are replaced."""
    for some in in_writes(documents):
        give_way()
        _store_messages([cast(Document, each) for each in some])


@mongo_errors
def _store_messages(some: list[Document]) -> None:
    try:
        messages().bulk_write([InsertOne(each) for each in some], ordered=False)
    except BulkWriteError as error:
        faults = (error.details or {}).get("writeErrors", [])
        if not faults or any(fault.get("code") != _DUPLICATE_KEY for fault in faults):
            raise
        same = [ReplaceOne({"_id": each["_id"], "owner_id": each["owner_id"]}, each, upsert=True) for each in some]
        messages().bulk_write(same, ordered=False)


@mongo_errors
def insert_imported(
    owner_id: int,
    conversation_id: str,
    *,
    source_key: str,
    import_id: str,
    title: str | None,
    system_instruction: str | None,
    pinned: bool,
    archived: bool,
    messages: int,
    created_at: datetime,
    updated_at: datetime,
) -> bool:
    """Store a conversation whose messages are stored; False if the owner has this conversation of the source."""
    document: Document = {
        "_id": conversation_id,
        "version": CONVERSATION_VERSION,
        "owner_id": owner_id,
        "organization_id": None,
        "title": title,
        "title_set_by_user": title is not None,
        "system_instruction": system_instruction,
        "pinned": pinned,
        "archived": archived,
        "temporary": False,
        "expires_at": None,
        "creation_key": None,
        "creation_hash": None,
        "source_key": source_key,
        "import_id": import_id,
        "next_seq": messages + 1,
        "message_count": messages,
        "revision": 0,
        "summary": None,
        "reply": None,
        "change": unnumbered_change(),
        "created_at": created_at,
        "updated_at": updated_at,
    }
    try:
        conversations().insert_one(document)
    except DuplicateKeyError:
        return False
    return True


def discard_imported_messages(owner_id: int, conversation_id: str, last_seq: int) -> None:
    """Delete the messages of a conversation that was not stored in the end."""
    for first in range(1, last_seq + 1, KEYS_PER_DELETION):
        give_way()
        delete_messages(owner_id, conversation_id, range(first, min(first + KEYS_PER_DELETION, last_seq + 1)))


def order_imported(owner_id: int, conversation_ids: Sequence[str]) -> None:
    """Give imported conversations change numbers in this order, because lists are in the order of these numbers.

    Conversations that the owner has changed since keep theirs, and so do those that an interrupted call has ordered.
    """
    give_way()
    number_changes(owner_id)
    latest = 0
    for first in range(0, len(conversation_ids), DOCUMENTS_PER_WRITE):
        give_way()
        latest = _order(owner_id, conversation_ids[first : first + DOCUMENTS_PER_WRITE], above=latest)


@mongo_errors
def _order(owner_id: int, conversation_ids: Sequence[str], *, above: int) -> int:
    """Give these conversations increasing numbers, all `above` this one, unless they have such; their last number.

    New numbers need no compare-and-set as those of `number_changes` do: a device that does not see the new number has
    the conversation already, which is the same as before.
    """
    chosen = {"_id": {"$in": list(conversation_ids)}, "owner_id": owner_id, "revision": 0}
    numbers = {each["_id"]: each["change"] for each in conversations().find(chosen, {"change": 1})}
    ids = [each for each in conversation_ids if each in numbers]
    changes = [above, *(numbers[each] for each in ids)]
    if all(before < after for before, after in pairwise(changes)):
        return int(changes[-1])
    counted = {"$inc": {"change": len(ids)}}
    after = ReturnDocument.AFTER
    counter = owners().find_one_and_update({"_id": owner_id}, counted, upsert=True, return_document=after)
    last = int(cast(Document, counter)["change"])
    # Numbers only grow, so a write that an earlier call gave up, and that arrives late, changes nothing.
    updates = [
        UpdateOne(
            {"_id": each, "owner_id": owner_id, "revision": 0, "change": {"$lt": number}}, {"$set": {"change": number}}
        )
        for number, each in enumerate(ids, start=last - len(ids) + 1)
    ]
    conversations().bulk_write(updates, ordered=False)
    return last
