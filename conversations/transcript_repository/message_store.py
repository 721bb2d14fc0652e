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
from edgechat.http.answer_bytes import beginning_within, take_page, text_bytes
from edgechat.stores.mongo import Document, mongo_errors

# The limits of the variants of one message together. The oldest are dropped; a single variant that is longer is cut, as
# a model's answer that is too long. An exchange is sent whole, so these limits bound response bodies.
MAX_VARIANTS, MAX_VARIANTS_BYTES = 50, 256 * 1024

# One read returns this many messages, without the texts of long ones. These are read next, as many as fit together.
_READ_AT_ONCE, _LONG_BYTES, _LONG_TOGETHER_BYTES = 50, 16_000, 500_000
_SIZE: Document = {"$bsonSize": "$$ROOT"}
# A search reads so many messages at a time.
_SEARCHED_AT_ONCE = 9


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
    while seqs:
        some, seqs = seqs[:_READ_AT_ONCE], seqs[_READ_AT_ONCE:]
        found = _find_outlines(owner_id, conversation_id, some, variants=variants)
        sizes = {message["seq"]: message["size"] for message in found}
        unread = [message["seq"] for message in found if message["content"] is None]
        whole: dict[int, MessageDocument] = {}
        for message in found:
            if message["content"] is not None:
                yield cast(ShownMessage, message)
                continue
            if message["seq"] in unread:
                together, _ = take_page(unread, sizes.__getitem__, limit=_LONG_TOGETHER_BYTES)
                unread = unread[len(together) :]
                read = find_messages(owner_id, conversation_id, together, variants=variants)
                whole = {each["seq"]: each for each in read}
            if message["seq"] in whole:  # not deleted meanwhile
                yield whole.pop(message["seq"])


@mongo_errors
def _find_outlines(owner_id: int, conversation_id: str, seqs: range, *, variants: bool) -> list[Document]:
    """The messages with these sequence numbers, in the order of the range, with their `size` in bytes.

    Long ones have no variants, and None as their content.
    """
    keys = [message_id(conversation_id, seq) for seq in seqs]
    fields: Document = {**dict.fromkeys(ShownMessage.__annotations__, 1), "size": _SIZE}
    for name in ("content", "variants"):
        fields[name] = {"$cond": [{"$lte": [_SIZE, _LONG_BYTES]}, f"${name}", None]}
    if not variants:
        del fields["variants"]
    found = list(messages().find({"_id": {"$in": keys}, "owner_id": owner_id}, fields))
    for message in found:
        message["variants"] = latest_variants(message.get("variants") or [])
    return sorted(found, key=lambda message: message["seq"], reverse=seqs.step < 0)


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


@mongo_errors
def set_feedback(owner_id: int, mid: str, feedback: Mapping[str, Any] | None) -> MessageDocument | None:
    """Store the user's feedback on an answer, or remove it with None; None if the message does not exist."""
    answer = {"_id": mid, "owner_id": owner_id, "role": "model"}
    messages().update_one(answer, {"$set": {"feedback": feedback}})
    found = messages().find_one(answer)
    return None if found is None else _with_fewer_variants(found)


@mongo_errors
def search_messages(
    owner_id: int, patterns: list[str], *, limit: int, before: tuple[datetime, str] | None = None
) -> Iterator[FoundMessage]:
    """The owner's messages that match all regular expressions, the newest first; with `before`, those after (time, id).

    Temporary conversations are not searched. Messages are read lazily, a few in memory at a time.

    The server scans the owner's messages from the newest until it has found `limit`: a word index would not find parts
    of words, nor other Unicode forms of their letters.
    """
    matching = [{"content": {"$regex": pattern}} for pattern in patterns]
    chosen: Document = {"owner_id": owner_id, "expires_at": NEVER, "$and": matching}
    ranges: list[Document] = [{}]
    if before is not None:
        at, mid = before
        ranges = [{"created_at": at, "_id": {"$lt": mid}}, {"created_at": {"$lt": at}}]
    fields = dict.fromkeys(FoundMessage.__annotations__, 1)
    for each in ranges:
        if limit:
            newest = messages().find({**chosen, **each}, fields).sort([("created_at", -1), ("_id", -1)]).limit(limit)
            for found in newest.batch_size(_SEARCHED_AT_ONCE):
                limit -= 1
                yield cast(FoundMessage, found)


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
    return cast(MessageDocument, {**found, "variants": latest_variants(found.get("variants", []))})
