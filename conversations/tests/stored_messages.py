"""Messages written directly into MongoDB, as by an import or an earlier version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conftest import Person
from conversations.transcript_repository import collections

LARGE = 100_000


def store_messages(person: Person, conversation: str, contents: Sequence[str], *, variants: Sequence[str] = ()) -> None:
    """Write alternating messages of user and model into an empty conversation, each with these earlier versions.

    Large messages are deleted when the person's client is closed: MongoDB's stand-in scans all messages for some
    commands, and would then need seconds for each of them.
    """
    at = collections.now()
    documents: list[dict[str, Any]] = [
        {
            "_id": f"{conversation}:{seq:08d}",
            "version": 1,
            "conversation_id": conversation,
            "owner_id": person.id,
            "seq": seq,
            "role": "user" if seq % 2 else "model",
            "content": content,
            "status": "complete",
            "attempt": 1,
            "attachments": [],
            "client_message_id": None,
            "body_hash": None,
            "finish_reason": None if seq % 2 else "STOP",
            "failure": None,
            "usage": None,
            "feedback": None,
            "variants": [{"content": text, "finish_reason": "STOP", "created_at": at} for text in variants],
            "outbox": None,
            "expires_at": None,
            "created_at": at,
        }
        for seq, content in enumerate(contents, start=1)
    ]
    size = sum(len(content) for content in [*contents, *variants]) * (len(documents) if variants else 1)
    # Below the size limit of one command.
    at_once = max(1, len(documents) * 4_000_000 // max(size, 1))
    for first in range(0, len(documents), at_once):
        collections.messages().insert_many(documents[first : first + at_once])
    if size > LARGE:
        stored = {"_id": {"$in": [document["_id"] for document in documents]}}
        person.at_close.callback(collections.messages().delete_many, stored)
    count = len(documents)
    collections.conversations().update_one(
        {"_id": conversation}, {"$set": {"next_seq": count + 1, "message_count": count}}
    )
