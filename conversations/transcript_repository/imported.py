"""Imported conversations: the messages are stored first, so a conversation that exists is complete.

`source_key` is the source's id of a conversation, unique for each owner; `import_id` names the import.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from pymongo import InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from conversations.documents import CONVERSATION_VERSION, MESSAGE_VERSION, MessageDocument, Role, Status, message_id
from conversations.transcript_repository.change_numbers import number_changes, unnumbered_change
from conversations.transcript_repository.collections import conversations, messages, tombstones
from conversations.transcript_repository.message_store import delete_messages
from edgechat.stores.mongo import Document, mongo_errors

_DOCUMENTS_PER_WRITE = 200
_DUPLICATE_KEY = 11000


@mongo_errors
def find_imported(owner_id: int, source_key: str) -> str | None:
    """The import that stored this conversation of the source; None if the owner does not have the conversation."""
    found = conversations().find_one({"owner_id": owner_id, "source_key": source_key}, {"import_id": 1})
    return None if found is None else str(found["import_id"])


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


@mongo_errors
def store_imported_messages(documents: Sequence[MessageDocument]) -> None:
    """Store messages; those that an interrupted run of the same import has stored are replaced."""
    for first in range(0, len(documents), _DOCUMENTS_PER_WRITE):
        some = [cast(Document, each) for each in documents[first : first + _DOCUMENTS_PER_WRITE]]
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
    for first in range(1, last_seq + 1, _DOCUMENTS_PER_WRITE):
        delete_messages(owner_id, conversation_id, range(first, min(first + _DOCUMENTS_PER_WRITE, last_seq + 1)))


@mongo_errors
def order_imported(owner_id: int, import_id: str) -> None:
    """Give an import's conversations new change numbers in the order of their times, because lists are in that order.

    Conversations that the owner has changed since keep theirs.
    """
    fields = {"updated_at": 1, "change": 1, "revision": 1}
    chosen = conversations().find({"owner_id": owner_id, "import_id": import_id}, fields)
    unchanged = (each for each in chosen if each["revision"] == 0)
    found = sorted(unchanged, key=lambda each: (each["updated_at"], each["_id"]))
    for first in range(0, len(found), _DOCUMENTS_PER_WRITE):
        some = found[first : first + _DOCUMENTS_PER_WRITE]
        base = unnumbered_change()
        changes = [
            UpdateOne(
                {"_id": each["_id"], "owner_id": owner_id, "change": each["change"]},
                {"$set": {"change": base + number}},
            )
            for number, each in enumerate(some)
        ]
        conversations().bulk_write(changes, ordered=False)
        number_changes(owner_id)
