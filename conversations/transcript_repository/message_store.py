"""Messages: one document each, found by their sequence numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypedDict, cast

from pymongo import UpdateOne

from ai.metered_call import TOO_LONG
from conversations.documents import MESSAGE_VERSION, MessageDocument, ReplyDocument, message_id, reply_seq
from conversations.transcript_repository.collections import NEVER, messages, now
from edgechat.answer_bytes import beginning_within, text_bytes
from edgechat.mongo import Document, mongo_errors

# Of one message, together; the oldest go, and one that is longer alone is cut, as a model's answer is that is too long.
# An exchange is told whole, so this bounds answers.
MAX_VARIANTS, MAX_VARIANTS_BYTES = 50, 256 * 1024

# How many messages are read at once: a few at first, later what their size lets expect.
_READ_FIRST, _READ_AT_MOST, _READ_CHARACTERS = 5, 25, 500_000


class FoundMessage(TypedDict):
    """What a search reads of a message."""

    _id: str
    conversation_id: str
    content: str
    created_at: datetime


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
def find_messages(
    owner_id: int, conversation_id: str, seqs: Iterable[int], *, variants: bool = True
) -> list[MessageDocument]:
    """The few messages with these sequence numbers, in order; those that are not there are left out.

    Without `variants`, which can be longer than all else, they have none.
    """
    keys = [message_id(conversation_id, seq) for seq in seqs]
    if not keys:
        return []
    chosen = messages().find({"_id": {"$in": keys}, "owner_id": owner_id}, None if variants else {"variants": 0})
    found = [_with_fewer_variants(message) for message in chosen]
    return sorted(found, key=lambda message: message["seq"])


def read_messages(
    owner_id: int, conversation_id: str, seqs: range, *, variants: bool = False
) -> Iterator[MessageDocument]:
    """The messages with these sequence numbers, in the order of the range, read as far as the reader goes on.

    However long they are, a few MB of them are in memory at once.
    """
    at_once = _READ_FIRST
    while seqs:
        some, seqs = seqs[:at_once], seqs[at_once:]
        found = find_messages(owner_id, conversation_id, some, variants=variants)
        yield from found if seqs.step > 0 else reversed(found)
        mean = sum(map(_characters, found)) // max(1, len(found)) + 1
        at_once = max(1, min(4 * at_once, _READ_CHARACTERS // mean, _READ_AT_MOST))


@mongo_errors
def find_sent(owner_id: int, conversation_id: str, client_message_id: str) -> tuple[int, str] | None:
    """(seq, hash of the body) of the message that was sent with this key; None if there is none."""
    sent = {"owner_id": owner_id, "conversation_id": conversation_id, "client_message_id": client_message_id}
    found = messages().find_one(sent, {"seq": 1, "body_hash": 1})
    return None if found is None else (found["seq"], found["body_hash"] or "")


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
    found = messages().find_one(answer)
    return None if found is None else _with_fewer_variants(found)


@mongo_errors
def search_messages(
    owner_id: int, patterns: list[str], *, limit: int, before: tuple[datetime, str] | None = None
) -> Iterator[FoundMessage]:
    """The owner's messages that match all regular expressions, the newest first; those behind (time, id).

    Those of temporary conversations are not searched.

    Read as they are asked for, a few in memory at once. The server compares the owner's messages, from the newest on,
    until it has found `limit`: an index of words would not know parts of them, nor other spellings of their letters.
    """
    matching = [{"content": {"$regex": pattern}} for pattern in patterns]
    chosen: Document = {"owner_id": owner_id, "expires_at": NEVER, "$and": matching}
    ranges: list[Document] = [{}]
    if before is not None:
        at, mid = before
        ranges = [{"created_at": at, "_id": {"$lt": mid}}, {"created_at": {"$lt": at}}]
    yield from _newest(chosen, ranges, limit)


def _newest(chosen: Document, ranges: list[Document], limit: int) -> Iterator[FoundMessage]:
    """Up to `limit` of the chosen messages, those of the first range first."""
    fields = dict.fromkeys(FoundMessage.__annotations__, 1)
    for each in ranges:
        if limit:
            newest = messages().find({**chosen, **each}, fields).sort([("created_at", -1), ("_id", -1)]).limit(limit)
            for found in newest.batch_size(_READ_FIRST):
                limit -= 1
                yield cast(FoundMessage, found)


def _with_variant(message: MessageDocument) -> list[dict[str, Any]]:
    """A message's variants with what it says now, if anything; the oldest of too many is dropped."""
    if not message["content"]:
        return message["variants"]
    said_now = {name: message[name] for name in ("content", "finish_reason", "created_at")}
    return _latest([*message["variants"], said_now])


def _latest(variants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many of them as may be kept, and of the last one as much."""
    variants = variants[-MAX_VARIANTS:]
    left = MAX_VARIANTS_BYTES
    for number, variant in enumerate(reversed(variants)):
        left -= text_bytes(variant["content"])
        if left < 0:
            return variants[len(variants) - number :] if number else [_cut(variant)]
    return variants


def _cut(variant: dict[str, Any]) -> dict[str, Any]:
    beginning = beginning_within(variant["content"], limit=MAX_VARIANTS_BYTES)
    return {**variant, "content": beginning, "finish_reason": TOO_LONG}


def _with_fewer_variants(found: Document) -> MessageDocument:
    """A stored message with the variants that may be kept: earlier versions kept more, and some reads leave all out."""
    return cast(MessageDocument, {**found, "variants": _latest(found.get("variants", []))})


def _characters(message: MessageDocument) -> int:
    return len(message["content"]) + sum(len(variant["content"]) for variant in message["variants"])


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
