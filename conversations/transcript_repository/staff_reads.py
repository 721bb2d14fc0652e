"""The metadata of conversations that staff see: no typed text, and nothing generated from it.

The fields are listed explicitly, so that a new field is hidden until it is added here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict, cast

from accounts.lifecycle.extent import MAX_COUNTED
from conversations.documents import ConversationDocument, is_expired
from conversations.transcript_repository.collections import conversations, now, unexpired
from conversations.transcript_repository.conversation_store import numbered
from edgechat.stores.mongo import Document, mongo_errors


class ReplyMetadata(TypedDict):
    message_id: str
    attempt: int
    worker: str
    stop_requested: bool
    started_at: datetime


class ConversationMetadata(TypedDict):
    _id: str
    owner_id: int
    organization_id: int | None
    pinned: bool
    archived: bool
    temporary: bool
    expires_at: datetime | None
    next_seq: int
    message_count: int
    reply: ReplyMetadata | None
    change: int
    created_at: datetime
    updated_at: datetime


_METADATA = dict.fromkeys(ConversationMetadata.__annotations__, 1)


@mongo_errors
def existing_conversations(conversation_ids: list[str]) -> set[str]:
    """The existing ones of these conversations, of all owners."""
    return {found["_id"] for found in conversations().find({"_id": {"$in": conversation_ids}}, {"_id": 1})}


@mongo_errors
def count_conversations_of(owner_ids: Sequence[int]) -> int:
    """How many conversations these owners have together; MAX_COUNTED + 1 for more."""
    return conversations().count_documents({"owner_id": {"$in": list(owner_ids)}}, limit=MAX_COUNTED + 1)


@mongo_errors
def find_metadata(conversation_id: str) -> ConversationMetadata | None:
    """The metadata of any user's conversation; None if it is absent or expired."""
    found = conversations().find_one({"_id": conversation_id}, _METADATA)
    return None if found is None or is_expired(cast(ConversationDocument, found), now()) else _metadata(found)


@mongo_errors
def list_metadata(owner_id: int, *, limit: int, before: int | None = None) -> list[ConversationMetadata]:
    """An owner's conversations, including archived ones, the latest changed first; `before` is a change number."""
    chosen: Document = {"owner_id": owner_id, "$and": [unexpired()]}
    if before is not None:
        chosen["change"] = {"$lt": before}
    found = numbered(owner_id, lambda: list(conversations().find(chosen, _METADATA).sort("change", -1).limit(limit)))
    return [_metadata(each) for each in found]


@mongo_errors
def list_running(*, limit: int) -> list[ConversationMetadata]:
    """Conversations of all owners that have a running reply, unordered."""
    running = conversations().find({"reply.worker": {"$exists": True}}, _METADATA).limit(limit)
    return [_metadata(found) for found in running]


def _metadata(found: Document) -> ConversationMetadata:
    """Remove the user's message from the reply here, because not every server can project nested fields."""
    reply = found["reply"]
    kept = None if reply is None else {name: reply[name] for name in ReplyMetadata.__annotations__}
    return cast(ConversationMetadata, {**found, "reply": kept})
