"""What staff see of conversations without reading them: nothing that was typed, or made from what was typed.

The fields are listed, so that a new one stays unseen until somebody adds it here.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, cast

from conversations.transcript_repository.collections import conversations, unexpired
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
def find_owner(conversation_id: str) -> int | None:
    """Whose conversation it is: for staff, who have its id alone. None if there is no such conversation."""
    found = conversations().find_one({"_id": conversation_id}, {"owner_id": 1})
    return None if found is None else int(found["owner_id"])


@mongo_errors
def existing_conversations(conversation_ids: list[str]) -> set[str]:
    """Which of these conversations, of whatever owners, are still there."""
    return {found["_id"] for found in conversations().find({"_id": {"$in": conversation_ids}}, {"_id": 1})}


@mongo_errors
def find_metadata(owner_id: int, conversation_id: str) -> ConversationMetadata | None:
    """The owner's conversation, without its text; None for a foreign or absent one, or one whose time is over."""
    found = conversations().find_one({"_id": conversation_id, "owner_id": owner_id, "$and": [unexpired()]}, _METADATA)
    return None if found is None else _metadata(found)


@mongo_errors
def list_metadata(owner_id: int, *, limit: int, before: int | None = None) -> list[ConversationMetadata]:
    """All conversations of an owner, archived ones too, the latest changed first; those behind a change number."""
    chosen: Document = {"owner_id": owner_id, "$and": [unexpired()]}
    if before is not None:
        chosen["change"] = {"$lt": before}
    found = numbered(owner_id, lambda: list(conversations().find(chosen, _METADATA).sort("change", -1).limit(limit)))
    return [_metadata(each) for each in found]


@mongo_errors
def list_running(*, limit: int) -> list[ConversationMetadata]:
    """Conversations of all owners in which a reply is being written, in no order."""
    running = conversations().find({"reply.worker": {"$exists": True}}, _METADATA).limit(limit)
    return [_metadata(found) for found in running]


def _metadata(found: Document) -> ConversationMetadata:
    """The reply without the user's message in it; not every server can choose fields of a part."""
    reply = found["reply"]
    kept = None if reply is None else {name: reply[name] for name in ReplyMetadata.__annotations__}
    return cast(ConversationMetadata, {**found, "reply": kept})
