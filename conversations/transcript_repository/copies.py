"""The documents of all owners, for backups: read while they change, and written into empty collections.

A standalone server has no snapshots. A conversation is read before its messages, and the tombstones and counters after
both. What changed in between is made consistent when the documents are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne, UpdateOne
from pymongo.collection import Collection

from conversations.documents import message_id
from conversations.transcript_repository.change_numbers import is_unnumbered
from conversations.transcript_repository.collections import conversations, messages, owners, tombstones
from conversations.transcript_repository.message_store import delete_all_messages
from conversations.transcript_repository.writes import in_writes
from edgechat.stores.mongo import Document

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_AT_ONCE = 100
_KEYS_AT_ONCE = 1000
# Added to all change numbers of a restored system. A device may know numbers that were given after the backup; with
# greater ones it receives all conversations again.
CHANGE_GAP = 2**32
# Added to all revisions. They are part of the ids in the ledger, which is copied later: it has the ids of replies that
# began after their conversation was read, and the next reply would have the same.
REVISION_GAP = 2**20
# What the messages of a restored conversation are compared with.
_CLAIM = ("next_seq", "reply")


def filled_collections() -> list[str]:
    """The names of the collections that have documents. Raises the driver's errors."""
    collections = (conversations(), messages(), tombstones(), owners())
    return [each.name for each in collections if each.find_one({}, {"_id": 1})]


def copy_everything() -> Iterator[tuple[str, bytes]]:
    """(name of the collection, BSON) of every document. Raises the driver's errors.

    The messages of some conversations follow them, before the next conversations. The cursor is not limited in time.
    """
    page: list[RawBSONDocument] = []
    for found in conversations().with_options(codec_options=_RAW).find({}).batch_size(_AT_ONCE):
        page.append(found)
        if len(page) == _AT_ONCE:
            yield from _copy_conversations(page)
            page = []
    yield from _copy_conversations(page)
    for collection in (tombstones(), owners()):
        for found in collection.with_options(codec_options=_RAW).find({}):
            yield collection.name, bytes(found.raw)


def _copy_conversations(page: Sequence[RawBSONDocument]) -> Iterator[tuple[str, bytes]]:
    for conversation in page:
        yield "conversations", bytes(conversation.raw)
    keys = (message_id(conversation["_id"], seq) for conversation in page for seq in range(1, conversation["next_seq"]))
    some: list[str] = []
    for key in keys:
        some.append(key)
        if len(some) == _KEYS_AT_ONCE:
            yield from _copy_messages(some)
            some = []
    if some:
        yield from _copy_messages(some)


def _copy_messages(keys: list[str]) -> Iterator[tuple[str, bytes]]:
    for found in messages().with_options(codec_options=_RAW).find({"_id": {"$in": keys}}):
        yield "messages", bytes(found.raw)


class RestoredTranscripts:
    """Writes copied documents, in the order of `copy_everything`, into empty collections."""

    def __init__(self) -> None:
        self._claims: dict[str, Document] = {}
        self._messages_follow = True
        self.dropped = 0

    def write(self, collection: str, documents: Sequence[bytes]) -> None:
        """Write documents of one collection, a few megabytes. Raises the driver's errors, ValueError and KeyError."""
        codec: CodecOptions[Document] = CodecOptions(tz_aware=True)
        found = [bson.decode(document, codec) for document in documents]
        match collection:
            case "conversations":
                self._write_conversations(found)
            case "messages":
                self._write_messages(found)
            case "tombstones":
                self._write_tombstones(found)
            case "owners":
                counters = [{**each, "change": each["change"] + CHANGE_GAP} for each in found]
                owners().bulk_write([ReplaceOne({"_id": each["_id"]}, each, upsert=True) for each in counters])
            case _:
                raise ValueError(f"EdgeChat has no collection {collection}")

    def _write_conversations(self, found: list[Document]) -> None:
        if self._messages_follow:
            self._claims, self._messages_follow = {}, False
        for conversation in found:
            conversation["change"] = _after_gap(conversation["change"])
            conversation["revision"] = conversation.get("revision", 0) + REVISION_GAP
            # Its thread is gone, and the entry in the ledger by which others would notice may be settled.
            conversation["summary_claim"] = None
            self._claims[conversation["_id"]] = {name: conversation[name] for name in _CLAIM}
        _insert(conversations(), found)
        # An owner whose changes have no numbers yet may get some from the former system until its end.
        counters = [
            UpdateOne({"_id": owner_id}, {"$setOnInsert": {"change": CHANGE_GAP}}, upsert=True)
            for owner_id in {conversation["owner_id"] for conversation in found}
        ]
        owners().bulk_write(counters)

    def _write_messages(self, found: list[Document]) -> None:
        self._messages_follow = True
        kept = []
        for message in found:
            claim = self._claims[message["conversation_id"]]
            if message["seq"] >= claim["next_seq"]:
                self.dropped += 1  # stored after its conversation was read
                continue
            reply = claim["reply"] or {}
            writer = (reply.get("message_id"), reply.get("attempt"))
            if message["status"] == "generating" and writer != (message["_id"], message["attempt"]):
                # Answered again after its conversation was read: no process would ever end this attempt.
                message["status"] = "interrupted"
            kept.append(message)
        _insert(messages(), kept)

    def _write_tombstones(self, found: list[Document]) -> None:
        """Write tombstones, and delete the conversations that were deleted after they were read."""
        for tombstone in found:
            tombstone["change"] = _after_gap(tombstone["change"])
        _insert(tombstones(), found)
        ids = [tombstone["_id"] for tombstone in found]
        for deleted in list(conversations().find({"_id": {"$in": ids}}, {"owner_id": 1, "next_seq": 1})):
            delete_all_messages(deleted["owner_id"], deleted["_id"], deleted["next_seq"] - 1)
            conversations().delete_one({"_id": deleted["_id"]})
            self.dropped += 1


def _insert(collection: Collection[Document], documents: list[Document]) -> None:
    for some in in_writes(documents):
        collection.insert_many(some)


def _after_gap(change: Any) -> Any:
    return change if is_unnumbered(change) else change + CHANGE_GAP
