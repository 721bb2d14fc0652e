"""The numbers that order the changes of an owner's conversations; see docs/decisions/0008."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from conversations.transcript_repository.collections import conversations, owners, tombstones
from conversations.transcript_repository.writes import DOCUMENTS_PER_WRITE
from edgechat.stores.mongo import mongo_errors

# Greater than every change number. With the microseconds added, it has at most 18 digits until the year 2150.
_UNNUMBERED = 2**59
# (change, name of the collection, id)
_Unnumbered = tuple[int, str, str]


def unnumbered_change() -> int:
    """The `change` of a new write: greater than all numbers, increasing with time, and unique for each write."""
    return _UNNUMBERED + (time.time_ns() // 1000 << 6) + secrets.randbelow(1 << 6)


def is_unnumbered(change: int) -> bool:
    return change >= _UNNUMBERED


@mongo_errors
def latest_number(owner_id: int) -> int:
    """The latest number of the owner's changes; 0 without one."""
    counter = owners().find_one({"_id": owner_id}, {"change": 1})
    return int(counter["change"]) if counter else 0


def number_changes(owner_id: int) -> int:
    """Number the owner's unnumbered changes in the order of their times, and return the latest number.

    When this function returns, each earlier write has a number up to that one, or had one that was returned before.
    """
    while True:
        # The counter is read first: numbers given meanwhile are greater, and the compare-and-set below detects them.
        latest, waiting = _read_unnumbered(owner_id)
        for first in range(0, len(waiting), DOCUMENTS_PER_WRITE):
            some = waiting[first : first + DOCUMENTS_PER_WRITE]
            if not _number(owner_id, some, after=latest):
                break
            latest += len(some)
        else:
            return latest


@mongo_errors
def _read_unnumbered(owner_id: int) -> tuple[int, list[_Unnumbered]]:
    """The latest number, and the owner's changes without one in the order of their times."""
    counter = owners().find_one({"_id": owner_id}, {"change": 1})
    unnumbered = {"owner_id": owner_id, "change": {"$gte": _UNNUMBERED}}
    waiting = sorted(
        (document["change"], collection.name, document["_id"])
        for collection in (conversations(), tombstones())
        for document in collection.find(unnumbered, {"change": 1})
    )
    if counter is None and waiting:
        with suppress(DuplicateKeyError):
            owners().insert_one({"_id": owner_id, "change": 0})
    return int(counter["change"]) if counter else 0, waiting


@mongo_errors
def _number(owner_id: int, waiting: Sequence[_Unnumbered], *, after: int) -> bool:
    """Take the numbers after this one from the counter, and write them; False if others have taken some."""
    taken = owners().update_one({"_id": owner_id, "change": after}, {"$set": {"change": after + len(waiting)}})
    if not taken.matched_count:
        return False
    for collection in (conversations(), tombstones()):
        # A document that changed again meanwhile does not match; its latest change is numbered by the next call.
        numbered = [
            UpdateOne({"_id": key, "owner_id": owner_id, "change": change}, {"$set": {"change": number}})
            for number, (change, name, key) in enumerate(waiting, start=after + 1)
            if name == collection.name
        ]
        if numbered:
            collection.bulk_write(numbered, ordered=False)
    return True
