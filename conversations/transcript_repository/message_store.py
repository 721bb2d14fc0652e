"""Messages: one document each, found by their sequence numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypedDict, cast

from ai.calls.metered import TOO_LONG
from conversations.documents import (
    Answerable,
    ConversationDocument,
    MessageDocument,
    RecentMessage,
    ShownMessage,
    VariantOutput,
    is_expired,
    message_id,
)
from conversations.transcript_repository.collections import NEVER, conversations, messages, now
from conversations.transcript_repository.writes import KEYS_PER_DELETION
from edgechat.http.answer_bytes import beginning_within, take_page, text_bytes
from edgechat.stores.mongo import Document, mongo_errors

# The limits of the variants of one message together. The oldest are dropped; a single variant that is longer is cut, as
# a model's answer that is too long. An exchange is sent whole, so these limits bound response bodies.
MAX_VARIANTS, MAX_VARIANTS_BYTES = 50, 256 * 1024

# A read of many messages leaves out the texts of long ones. These are read next, as many as fit together.
_LONG_BYTES, _LONG_TOGETHER_BYTES = 16_000, 500_000
_READ_AT_ONCE = 50
_SIZE: Document = {"$bsonSize": "$$ROOT"}


class FoundMessage(TypedDict):
    """The fields of a message that a search reads."""

    _id: str
    conversation_id: str
    content: str
    created_at: datetime


@mongo_errors
def find_answerable(owner_id: int, conversation_id: str, *, seqs: Iterable[int] = ()) -> Answerable | None:
    """The owner's conversation with its recent messages and those with these few sequence numbers, in one command.

    None if the conversation is absent, another user's, or an expired temporary conversation. The messages are read
    after the conversation: if a claim of it succeeds, they have not changed since.
    """
    keys = [message_id(conversation_id, seq) for seq in seqs]
    stages: list[Document] = [
        {"$match": {"_id": conversation_id, "owner_id": owner_id}},
        _joined(owner_id, "recent", as_field="recent_messages", fields=RecentMessage),
    ]
    if keys:
        stages += [{"$addFields": {"requested": keys}}, _joined(owner_id, "requested", as_field="requested_messages")]
    found = next(iter(conversations().aggregate(stages)), None)
    if found is None:
        return None
    recent, requested = found.pop("recent_messages"), found.pop("requested_messages", [])
    found.pop("requested", None)
    for message in requested:
        # NX-27017 leaves the ids of joined documents out.
        message["_id"] = message_id(conversation_id, message["seq"])
    conversation = cast(ConversationDocument, found)
    if is_expired(conversation, now()):
        return None
    return Answerable(
        conversation,
        sorted(cast("list[RecentMessage]", recent), key=lambda message: message["seq"]),
        {message["seq"]: _with_fewer_variants(message) for message in requested},
    )


@mongo_errors
def find_messages(
    owner_id: int, conversation_id: str, seqs: Iterable[int], *, variants: bool = True
) -> list[MessageDocument]:
    """The messages with these few sequence numbers, in order; absent messages are left out.

    Without `variants`, their variants are not read, which can be longer than everything else.
    """
    keys = [message_id(conversation_id, seq) for seq in seqs]
    if not keys:
        return []
    chosen = messages().find({"_id": {"$in": keys}, "owner_id": owner_id}, None if variants else {"variants": 0})
    found = [_with_fewer_variants(message) for message in chosen]
    return sorted(found, key=lambda message: message["seq"])


def read_messages(
    owner_id: int, conversation_id: str, seqs: range, *, variants: bool = False
) -> Iterator[ShownMessage]:
    """The messages with these sequence numbers, in the order of the range, read lazily.

    A few MB of messages are in memory at a time, whatever their lengths.
    """
    fields = list(ShownMessage.__annotations__)
    if not variants:
        fields.remove("variants")
    while seqs:
        some, seqs = seqs[:_READ_AT_ONCE], seqs[_READ_AT_ONCE:]
        keys = [message_id(conversation_id, seq) for seq in some]
        found = _find(owner_id, keys, _without_long_texts(fields))
        found.sort(key=lambda message: message["seq"], reverse=some.step < 0)
        for message in _with_long_texts(owner_id, found, fields):
            if message["content"] is not None:
                yield _with_fewer_variants(message)


def _without_long_texts(fields: list[str]) -> Document:
    """A projection: these fields, and the `size` in bytes. Long messages have None as content and as variants."""
    texts: Document = {
        name: {"$cond": [{"$lte": [_SIZE, _LONG_BYTES]}, f"${name}", None]}
        for name in ("content", "variants")
        if name in fields
    }
    return {**dict.fromkeys(fields, 1), **texts, "size": _SIZE}


def _with_long_texts(owner_id: int, found: list[Document], fields: list[str]) -> Iterator[Document]:
    """The messages, in this order, with the texts that `_without_long_texts` left out, unless they are deleted by now.

    Long texts are read lazily, as many as fit together.
    """
    sizes = {message["_id"]: message["size"] for message in found}
    unread = [message["_id"] for message in found if message["content"] is None]
    whole: dict[str, Document] = {}
    for message in found:
        if message["_id"] in unread:
            together, _ = take_page(unread, sizes.__getitem__, limit=_LONG_TOGETHER_BYTES)
            unread = unread[len(together) :]
            whole = {each["_id"]: each for each in _find(owner_id, together, dict.fromkeys(fields, 1))}
        yield whole.pop(message["_id"], message)


@mongo_errors
def _find(owner_id: int, keys: list[str], fields: Document) -> list[Document]:
    return list(messages().find({"_id": {"$in": keys}, "owner_id": owner_id}, fields))


@mongo_errors
def find_sent(owner_id: int, conversation_id: str, client_message_id: str) -> tuple[int, str] | None:
    """(seq, hash of the body) of the message that was sent with this key, or None."""
    sent = {"owner_id": owner_id, "conversation_id": conversation_id, "client_message_id": client_message_id}
    found = messages().find_one(sent, {"seq": 1, "body_hash": 1})
    return None if found is None else (found["seq"], found["body_hash"] or "")


@mongo_errors
def delete_messages(owner_id: int, conversation_id: str, seqs: Iterable[int]) -> None:
    keys = [message_id(conversation_id, seq) for seq in seqs]
    messages().delete_many({"_id": {"$in": keys}, "owner_id": owner_id})


def delete_all_messages(owner_id: int, conversation_id: str, last_seq: int) -> None:
    """Delete the messages up to this sequence number, a few in each operation."""
    for first in range(1, last_seq + 1, KEYS_PER_DELETION):
        delete_messages(owner_id, conversation_id, range(first, min(first + KEYS_PER_DELETION, last_seq + 1)))


@mongo_errors
def set_feedback(owner_id: int, mid: str, feedback: Mapping[str, Any] | None) -> MessageDocument | None:
    """Store the user's feedback on an answer, or remove it with None; None if the message does not exist."""
    answer = {"_id": mid, "owner_id": owner_id, "role": "model"}
    messages().update_one(answer, {"$set": {"feedback": feedback}})
    found = messages().find_one(answer)
    return None if found is None else _with_fewer_variants(found)


def search_messages(
    owner_id: int, patterns: list[str], *, limit: int, before: tuple[datetime, str] | None = None
) -> Iterator[FoundMessage]:
    """The owner's messages that match all regular expressions, the newest first; with `before`, those after (time, id).

    Temporary conversations are not searched. Long messages are read lazily, a few in memory at a time; one that is
    deleted meanwhile is empty.

    The server scans the owner's messages from the newest until it has found `limit`: a word index would not find parts
    of words, nor other Unicode forms of their letters.
    """
    fields = list(FoundMessage.__annotations__)
    for message in _with_long_texts(owner_id, _find_newest(owner_id, patterns, fields, limit, before), fields):
        yield cast(FoundMessage, {**message, "content": message["content"] or ""})


@mongo_errors
def _find_newest(
    owner_id: int, patterns: list[str], fields: list[str], limit: int, before: tuple[datetime, str] | None
) -> list[Document]:
    matching = [{"content": {"$regex": pattern}} for pattern in patterns]
    chosen: Document = {"owner_id": owner_id, "expires_at": NEVER, "$and": matching}
    ranges: list[Document] = [{}]
    if before is not None:
        at, mid = before
        ranges = [{"created_at": at, "_id": {"$lt": mid}}, {"created_at": {"$lt": at}}]
    # The order of times and ids, in the fields of the index.
    newest_first = [("created_at", -1), ("conversation_id", -1), ("seq", -1)]
    found: list[Document] = []
    for each in ranges:
        if len(found) < limit:
            newest = messages().find({**chosen, **each}, _without_long_texts(fields))
            found += newest.sort(newest_first).limit(limit - len(found))
    return found


def latest_variants(variants: list[VariantOutput]) -> list[VariantOutput]:
    """The latest variants within the limits; a single one that is too long is cut."""
    variants = variants[-MAX_VARIANTS:]
    left = MAX_VARIANTS_BYTES
    for number, variant in enumerate(reversed(variants)):
        left -= text_bytes(variant["content"])
        if left < 0:
            return variants[len(variants) - number :] if number else [_cut(variant)]
    return variants


def _joined(owner_id: int, keys_field: str, *, as_field: str, fields: type[RecentMessage] | None = None) -> Document:
    """A stage that adds the owner's messages whose ids are in a field of the conversation, whole or some `fields`."""
    pipeline: list[Document] = [{"$match": {"owner_id": owner_id}}]
    if fields is not None:
        pipeline.append({"$project": dict.fromkeys(fields.__annotations__, 1)})
    join = {"from": messages().name, "localField": keys_field, "foreignField": "_id", "pipeline": pipeline}
    return {"$lookup": {**join, "as": as_field}}


def _cut(variant: VariantOutput) -> VariantOutput:
    beginning = beginning_within(variant["content"], limit=MAX_VARIANTS_BYTES)
    return {**variant, "content": beginning, "finish_reason": TOO_LONG}


def _with_fewer_variants(found: Document) -> MessageDocument:
    """A stored message with its variants limited: earlier versions kept more, and some reads leave all of them out."""
    return cast(MessageDocument, {**found, "variants": latest_variants(found.get("variants") or [])})
