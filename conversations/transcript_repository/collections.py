"""The collections and their indexes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from conversations.documents import ConversationDocument
from edgechat.stores.mongo import Document, database, mongo_errors

# The index of running replies.
WRITTEN_BY = "written_by"
# Created by earlier versions; no longer used.
_FORMER_CONVERSATION_INDEXES = frozenset({"owner_archived_change", "owner_archived_pinned_change"})
_FORMER_MESSAGE_INDEXES = frozenset({"owner_created", "owner_text"})
TOMBSTONE_SECONDS = 30 * 24 * 3600
# MongoDB's error codes
INDEX_OPTIONS_CONFLICT = 85
INDEX_KEY_SPECS_CONFLICT = 86


def conversations() -> Collection[Document]:
    return database()["conversations"]


def messages() -> Collection[Document]:
    return database()["messages"]


def tombstones() -> Collection[Document]:
    return database()["tombstones"]


def owners() -> Collection[Document]:
    return database()["owners"]


def now() -> datetime:
    """The current time without microseconds: MongoDB does not store them, and an answer must equal the stored value."""
    moment = timezone.now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


# `expires_at` of documents that are not temporary. With a range or an `$and`, NX-27017 finds nothing by a plain null.
NEVER = {"$in": [None]}


def revision_of(conversation: ConversationDocument) -> Any:
    """The filter value for an unchanged `revision`; the field does not exist before its first write."""
    return conversation.get("revision", {"$in": [None]})


def unexpired() -> Document:
    """A condition for a filter's `$and` that excludes expired temporary conversations."""
    return {"$or": [{"expires_at": None}, {"expires_at": {"$gt": now()}}]}


@mongo_errors
def ensure_indexes() -> list[str]:
    """Create the missing indexes; the names of all indexes."""
    made = [
        _ensure_index(conversations(), [("owner_id", 1), ("change", -1)], name="owner_change"),
        _ensure_index(
            conversations(),
            [("owner_id", 1), ("temporary", 1), ("archived", 1), ("change", -1)],
            name="owner_temporary_archived_change",
        ),
        _ensure_index(
            conversations(),
            [("owner_id", 1), ("temporary", 1), ("archived", 1), ("pinned", -1), ("change", -1)],
            name="owner_temporary_archived_pinned_change",
        ),
        _ensure_index(
            conversations(),
            [("owner_id", 1), ("creation_key", 1)],
            name="creation_key_once",
            unique=True,
            partialFilterExpression={"creation_key": {"$type": "string"}},
        ),
        _ensure_index(
            conversations(),
            [("owner_id", 1), ("source_key", 1)],
            name="source_key_once",
            unique=True,
            partialFilterExpression={"source_key": {"$type": "string"}},
        ),
        _ensure_index(
            conversations(),
            [("organization_id", 1), ("archived", 1), ("updated_at", -1)],
            name="organization_archived_updated",
            partialFilterExpression={"organization_id": {"$gt": 0}},
        ),
        _ensure_index(
            conversations(),
            [("reply.worker", 1), ("reply.stop_requested", 1)],
            name=WRITTEN_BY,
            partialFilterExpression={"reply.worker": {"$exists": True}},
        ),
        _ensure_index(conversations(), [("expires_at", 1)], name="temporary_ttl", expireAfterSeconds=3600),
        _ensure_index(
            messages(),
            [("owner_id", 1), ("conversation_id", 1), ("client_message_id", 1)],
            name="client_message_once",
            unique=True,
            partialFilterExpression={"client_message_id": {"$type": "string"}},
        ),
        _ensure_index(
            messages(),
            [("owner_id", 1), ("created_at", -1), ("conversation_id", -1), ("seq", -1)],
            name="owner_created_conversation_seq",
        ),
        _ensure_index(messages(), [("status", 1), ("created_at", -1)], name="status_created"),
        _ensure_index(
            messages(),
            [("feedback.rating", 1), ("created_at", -1)],
            name="rating_created",
            partialFilterExpression={"feedback.rating": {"$exists": True}},
        ),
        _ensure_index(messages(), [("expires_at", 1)], name="temporary_ttl", expireAfterSeconds=3600),
        _ensure_index(tombstones(), [("owner_id", 1), ("change", 1)], name="owner_change"),
        _ensure_index(tombstones(), [("purged", 1), ("deleted_at", 1)], name="unpurged"),
        _ensure_index(tombstones(), [("deleted_at", 1)], name="tombstone_ttl", expireAfterSeconds=TOMBSTONE_SECONDS),
    ]
    for collection, former in ((conversations(), _FORMER_CONVERSATION_INDEXES), (messages(), _FORMER_MESSAGE_INDEXES)):
        for name in former & collection.index_information().keys():
            collection.drop_index(name)
    return made


def _ensure_index(collection: Collection[Document], keys: list[tuple[str, int]], *, name: str, **options: Any) -> str:
    """Create an index; replace one that an earlier version created with other options."""
    try:
        return collection.create_index(keys, name=name, **options)
    except OperationFailure as error:
        if error.code not in (INDEX_OPTIONS_CONFLICT, INDEX_KEY_SPECS_CONFLICT):
            raise
    collection.drop_index(name)
    return collection.create_index(keys, name=name, **options)
