"""The collections, their indexes, and the change numbers that order what happens to an owner's conversations."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, OperationFailure

from edgechat.mongo import Document, database, mongo_errors

TOMBSTONE_SECONDS = 30 * 24 * 3600
# MongoDB's error codes
INDEX_OPTIONS_CONFLICT = 85
INDEX_KEY_SPECS_CONFLICT = 86
# A change that has not landed after this long never will: its process died, or the server refused it.
CHANGE_LANDS_WITHIN = timedelta(seconds=15)
# Begins the names of an owner's marks, one for each change that is under way.
_IN_FLIGHT = "in_flight_"


def conversations() -> Collection[Document]:
    return database()["conversations"]


def messages() -> Collection[Document]:
    return database()["messages"]


def tombstones() -> Collection[Document]:
    return database()["tombstones"]


def owners() -> Collection[Document]:
    return database()["owners"]


def now() -> datetime:
    """MongoDB keeps milliseconds; what is answered now must equal what is read later."""
    moment = timezone.now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def unexpired() -> Document:
    """What leaves temporary conversations whose time is over out of a filter's `$and`."""
    return {"$or": [{"expires_at": None}, {"expires_at": {"$gt": now()}}]}


@mongo_errors
def ensure_indexes() -> list[str]:
    """Make every index that is missing; the names of all.

    The text index is left out where the server has none (`search` does without it then).
    """
    made = [
        _ensure_index(conversations(), [("owner_id", 1), ("change", -1)], name="owner_change"),
        _ensure_index(
            conversations(), [("owner_id", 1), ("archived", 1), ("change", -1)], name="owner_archived_change"
        ),
        _ensure_index(
            conversations(),
            [("owner_id", 1), ("archived", 1), ("pinned", -1), ("change", -1)],
            name="owner_archived_pinned_change",
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
            [("reply.lease_until", 1)],
            name="lease",
            partialFilterExpression={"reply.lease_until": {"$exists": True}},
        ),
        _ensure_index(conversations(), [("expires_at", 1)], name="temporary_ttl", expireAfterSeconds=3600),
        _ensure_index(
            messages(),
            [("owner_id", 1), ("conversation_id", 1), ("client_message_id", 1)],
            name="client_message_once",
            unique=True,
            partialFilterExpression={"client_message_id": {"$type": "string"}},
        ),
        _ensure_index(messages(), [("owner_id", 1), ("created_at", -1)], name="owner_created"),
        _ensure_index(messages(), [("expires_at", 1)], name="temporary_ttl", expireAfterSeconds=3600),
        _ensure_index(tombstones(), [("owner_id", 1), ("change", 1)], name="owner_change"),
        _ensure_index(tombstones(), [("purged", 1), ("deleted_at", 1)], name="unpurged"),
        _ensure_index(tombstones(), [("deleted_at", 1)], name="tombstone_ttl", expireAfterSeconds=TOMBSTONE_SECONDS),
    ]
    try:
        keys: list[tuple[str, int | str]] = [("owner_id", 1), ("content", "text")]
        made.append(messages().create_index(keys, name="owner_text", default_language="none"))
    except OperationFailure:
        pass
    return made


def _ensure_index(collection: Collection[Document], keys: list[tuple[str, int]], *, name: str, **options: Any) -> str:
    """Make an index; one that an earlier version made with other options is replaced."""
    try:
        return collection.create_index(keys, name=name, **options)
    except OperationFailure as error:
        if error.code not in (INDEX_OPTIONS_CONFLICT, INDEX_KEY_SPECS_CONFLICT):
            raise
    collection.drop_index(name)
    return collection.create_index(keys, name=name, **options)


@contextmanager
def numbered_change(owner_id: int, *, begins: bool = False) -> Iterator[int]:
    """The owner's next change number, for a write in the block.

    Numbers are taken before they are written, so a reader could see a later one first. The number therefore counts as
    in flight until the block is left; after an error it stays so for a while, for the write may still land.
    """
    mark = f"{_IN_FLIGHT}{secrets.token_hex(6)}"
    counter = _next_number(owner_id, mark, upsert=False)
    # An owner whose account was deleted has no counter, and a reply that ends later must not make one again.
    if counter is None and (begins or conversations().find_one({"owner_id": owner_id}, {"_id": 1})):
        counter = _next_number(owner_id, mark, upsert=True)
    if counter is None:
        yield 0
        return
    yield int(counter["change"])
    owners().update_one({"_id": owner_id}, {"$unset": {mark: ""}})


def _next_number(owner_id: int, mark: str, *, upsert: bool) -> Document | None:
    while True:
        try:
            return owners().find_one_and_update(
                {"_id": owner_id},
                {"$inc": {"change": 1}, "$set": {mark: now()}},
                upsert=upsert,
                return_document=ReturnDocument.AFTER,
            )
        except DuplicateKeyError:  # an owner's first change, made twice at once
            continue


def latest_change(owner_id: int) -> tuple[int, frozenset[str]]:
    """The owner's latest change number, and the marks of those changes up to it that have not landed."""
    counter = owners().find_one({"_id": owner_id}) or {"change": 0}
    oldest = now() - CHANGE_LANDS_WITHIN
    marks = (mark for mark, at in counter.items() if mark.startswith(_IN_FLIGHT) and at > oldest)
    return int(counter["change"]), frozenset(marks)
