"""Messages: one document each, found by their sequence numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from pymongo import UpdateOne
from pymongo.errors import OperationFailure

from conversations.documents import MESSAGE_VERSION, MessageDocument, ReplyDocument, message_id, reply_seq
from conversations.transcript_repository.collections import messages, now
from edgechat.mongo import Document, mongo_errors

# Keeps a message, with texts of the greatest length, well below the 16 MB of a document.
MAX_VARIANTS = 50

_INDEXED_TERM = re.compile(r"[^\W_]+")


@mongo_errors
def prepare_messages(
    owner_id: int, conversation_id: str, reply: ReplyDocument
) -> tuple[MessageDocument, MessageDocument]:
    """Bring both messages to where a claimed reply begins; any process may do it, as often as it likes. Both, as they
    are when this is the first time.

    Missing ones are written. A message of an earlier attempt is begun anew: what was there before is kept among its
    variants, but for a reply that is only begun again because its process died.
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
def find_messages(owner_id: int, conversation_id: str, seqs: Iterable[int]) -> list[MessageDocument]:
    """The messages with these sequence numbers, in order; those that are not there are left out."""
    keys = [message_id(conversation_id, seq) for seq in seqs]
    if not keys:
        return []
    found = list(messages().find({"_id": {"$in": keys}, "owner_id": owner_id}))
    return cast("list[MessageDocument]", sorted(found, key=lambda message: int(message["seq"])))


@mongo_errors
def find_message_by_client_id(owner_id: int, conversation_id: str, client_message_id: str) -> MessageDocument | None:
    found = messages().find_one(
        {"owner_id": owner_id, "conversation_id": conversation_id, "client_message_id": client_message_id}
    )
    return cast("MessageDocument | None", found)


@mongo_errors
def save_snapshot(owner_id: int, mid: str, *, attempt: int, content: str) -> bool:
    """Keep a running reply's text so far; False if this attempt no longer writes it."""
    result = messages().update_one(
        {"_id": mid, "owner_id": owner_id, "status": "generating", "attempt": attempt},
        {"$set": {"content": content}},
    )
    return result.matched_count == 1


@mongo_errors
def finish_message(owner_id: int, mid: str, *, attempt: int, final: Mapping[str, Any]) -> bool:
    """End a running reply by compare-and-set; False if somebody else has ended it or taken it over.

    The same write leaves `reply_finished` in the outbox.
    """
    outbox = {"event": "reply_finished", "at": now()}
    result = messages().update_one(
        {"_id": mid, "owner_id": owner_id, "status": "generating", "attempt": attempt},
        {"$set": {**final, "outbox": outbox}},
    )
    return result.matched_count == 1


@mongo_errors
def delete_messages(owner_id: int, conversation_id: str, seqs: Iterable[int]) -> None:
    keys = [message_id(conversation_id, seq) for seq in seqs]
    messages().delete_many({"_id": {"$in": keys}, "owner_id": owner_id})


@mongo_errors
def set_feedback(owner_id: int, mid: str, feedback: Mapping[str, Any] | None) -> MessageDocument | None:
    """Keep, or with None take back, what the user thinks of an answer; None if there is no such message."""
    answer = {"_id": mid, "owner_id": owner_id, "role": "model"}
    messages().update_one(answer, {"$set": {"feedback": feedback}})
    return cast("MessageDocument | None", messages().find_one(answer))


@mongo_errors
def search_messages(
    owner_id: int, words: list[str], *, limit: int, before: tuple[datetime, str] | None = None
) -> list[MessageDocument]:
    """The owner's messages that contain all words, whatever their case, the newest first; those behind (time, id).

    With a text index (MongoDB) words are whole words. Servers without one compare all messages of the owner.
    """
    patterns = [{"content": {"$regex": re.escape(word), "$options": "i"}} for word in words]
    chosen: Document = {"owner_id": owner_id, "$and": patterns}
    ranges: list[Document] = [{}]
    if before is not None:
        at, mid = before
        ranges = [{"created_at": at, "_id": {"$lt": mid}}, {"created_at": {"$lt": at}}]
    # The index only narrows down what is compared: it knows neither punctuation nor emoji, and it does not know where
    # words begin in scripts without spaces, which have no upper case either.
    terms = [term for word in words for term in _INDEXED_TERM.findall(word) if term.lower() != term.upper()]
    if terms:
        try:
            return _newest({**chosen, "$text": {"$search": max(terms, key=len)}}, ranges, limit)
        except OperationFailure:
            pass  # this server has no text index
    return _newest(chosen, ranges, limit)


def _newest(chosen: Document, ranges: list[Document], limit: int) -> list[MessageDocument]:
    """Up to `limit` of the chosen messages, those of the first range first."""
    found: list[Document] = []
    for each in ranges:
        if len(found) < limit:
            matching = messages().find({**chosen, **each}, {"variants": 0}).sort([("created_at", -1), ("_id", -1)])
            found += matching.limit(limit - len(found))
    return cast("list[MessageDocument]", found)


def _with_variant(message: MessageDocument) -> list[dict[str, Any]]:
    """A message's variants with what it says now, if anything; the oldest of too many is dropped."""
    if not message["content"]:
        return message["variants"]
    said_now = {name: message[name] for name in ("content", "finish_reason", "created_at")}
    return [*message["variants"], said_now][-MAX_VARIANTS:]


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
