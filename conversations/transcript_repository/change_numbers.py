"""The numbers that order what happens to an owner's conversations. Why so: docs/decisions/0008."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from conversations.transcript_repository.collections import conversations, owners, tombstones
from edgechat.stores.mongo import mongo_errors

# Above every change number and, with microseconds behind it, of at most 18 digits until the year 2150.
_UNNUMBERED = 2**59


def unnumbered_change() -> int:
    """What a write leaves in `change`: above all numbers, the later the higher, and different for each write."""
    return _UNNUMBERED + (time.time_ns() // 1000 << 6) + secrets.randbelow(1 << 6)


def is_unnumbered(change: int) -> bool:
    return change >= _UNNUMBERED


@mongo_errors
def number_changes(owner_id: int) -> int:
    """Give the owner's changes that have none their numbers, in the order of their times; the latest number.

    Whatever was written before this call has a number up to that one when it returns, or had one that was told before.
    """
    while True:
        # The counter first: what others number meanwhile is above it, and the compare-and-set below will notice.
        counter = owners().find_one({"_id": owner_id}, {"change": 1})
        latest = int(counter["change"]) if counter else 0
        unnumbered = {"owner_id": owner_id, "change": {"$gte": _UNNUMBERED}}
        waiting = sorted(
            (document["change"], collection.name, document["_id"])
            for collection in (conversations(), tombstones())
            for document in collection.find(unnumbered, {"change": 1})
        )
        if not waiting:
            return latest
        if counter is None:
            with suppress(DuplicateKeyError):
                owners().insert_one({"_id": owner_id, "change": 0})
            continue
        taken = owners().update_one({"_id": owner_id, "change": latest}, {"$set": {"change": latest + len(waiting)}})
        if taken.matched_count:
            break
    for collection in (conversations(), tombstones()):
        # One that changed again meanwhile does not match: its latest change is numbered next time.
        numbered = [
            UpdateOne({"_id": key, "owner_id": owner_id, "change": change}, {"$set": {"change": number}})
            for number, (change, name, key) in enumerate(waiting, start=latest + 1)
            if name == collection.name
        ]
        if numbered:
            collection.bulk_write(numbered, ordered=False)
    return latest + len(waiting)
