"""The two messages of a running reply: stored after its claim, and changed only by its current attempt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from pymongo import UpdateOne

from conversations.documents import (
    MESSAGE_VERSION,
    MessageDocument,
    ReplyDocument,
    VariantOutput,
    message_id,
    reply_seq,
)
from conversations.transcript_repository.collections import messages, now
from conversations.transcript_repository.message_store import find_messages, latest_variants
from edgechat.stores.mongo import Document, mongo_errors


@mongo_errors
def prepare_messages(
    owner_id: int, conversation_id: str, reply: ReplyDocument
) -> tuple[MessageDocument, MessageDocument]:
    """Write both messages as they are at the start of a claimed reply. Any process may repeat this.

    Returns both messages as they are after the first call. Missing messages are written. A message of an earlier
    attempt is reset, and its content is kept in its variants, unless the attempt only restarts a reply whose process
    died.
    """
    draft = reply["user_message"]
    seq = reply_seq(reply)
    user_message = _new_message(owner_id, conversation_id, seq - 1, reply["started_at"], reply["expires_at"])
    user_message.update(
        role="user",
        content=draft["content"],
        attachments=draft["attachments"],
        client_message_id=draft["client_message_id"],
        body_hash=draft["body_hash"],
    )
    model_message = _new_message(owner_id, conversation_id, seq, reply["started_at"], reply["expires_at"])
    model_message.update(status="generating", attempt=reply["attempt"])
    messages().bulk_write(
        [
            UpdateOne({"_id": message["_id"]}, {"$setOnInsert": _without_id(message)}, upsert=True)
            for message in (user_message, model_message)
        ]
    )
    if reply["attempt"] == 1:
        return cast(MessageDocument, user_message), cast(MessageDocument, model_message)
    found = find_messages(owner_id, conversation_id, (seq - 1, seq))
    if len(found) < 2:  # deleted a moment ago
        return cast(MessageDocument, user_message), cast(MessageDocument, model_message)
    question, answer = found
    if question["content"] != draft["content"]:
        edited: Document = {"content": draft["content"], "variants": _with_variant(question)}
        messages().update_one(
            {"_id": question["_id"], "owner_id": owner_id, "content": question["content"]}, {"$set": edited}
        )
        question = cast(MessageDocument, {**question, **edited})
    if answer["attempt"] < reply["attempt"]:
        anew: Document = {"attempt": reply["attempt"], "status": "generating", "content": ""}
        if answer["status"] != "generating":
            anew |= {"finish_reason": None, "failure": None, "usage": None, "feedback": None, "outbox": None}
            anew["variants"] = _with_variant(answer)
        messages().update_one(
            {"_id": answer["_id"], "owner_id": owner_id, "attempt": answer["attempt"], "status": answer["status"]},
            {"$set": anew},
        )
        answer = cast(MessageDocument, {**answer, **anew})
    return question, answer


@mongo_errors
def save_snapshot(owner_id: int, mid: str, *, attempt: int, content: str) -> bool:
    """Store a running reply's text so far; False if this attempt no longer writes the reply."""
    result = messages().update_one(
        {"_id": mid, "owner_id": owner_id, "status": "generating", "attempt": attempt},
        {"$set": {"content": content}},
    )
    return result.matched_count == 1


@mongo_errors
def finish_message(owner_id: int, mid: str, *, attempt: int, final: Mapping[str, Any]) -> bool:
    """End a running reply by compare-and-set; False if another process has ended it or taken it over.

    The same write puts `reply_finished` into the outbox.
    """
    outbox = {"event": "reply_finished", "at": now()}
    result = messages().update_one(
        {"_id": mid, "owner_id": owner_id, "status": "generating", "attempt": attempt},
        {"$set": {**final, "outbox": outbox}},
    )
    return result.matched_count == 1


def _with_variant(message: MessageDocument) -> list[VariantOutput]:
    """A message's variants with its current content, if it has any; the oldest of too many are dropped."""
    if not message["content"]:
        return message["variants"]
    said_now = VariantOutput(
        content=message["content"], finish_reason=message["finish_reason"], created_at=message["created_at"]
    )
    return latest_variants([*message["variants"], said_now])


def _new_message(
    owner_id: int, conversation_id: str, seq: int, created_at: datetime, expires_at: datetime | None
) -> Document:
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
        "expires_at": expires_at,
        "created_at": created_at,
    }


def _without_id(message: Document) -> Document:
    return {name: value for name, value in message.items() if name != "_id"}
