"""The processes that write replies, each with one lease for all that it writes."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, cast

from pymongo.errors import DuplicateKeyError

from conversations.transcript_repository.collections import WRITTEN_BY, conversations, workers
from edgechat.mongo import Document, mongo_errors


class WorkerDocument(TypedDict):
    _id: str
    lease_until: datetime
    dead: bool  # for good: its replies may be taken over, and its lease can't be renewed
    stops: int  # how many of its replies users have wanted stopped so far


@mongo_errors
def register_worker(worker: str, *, lease_until: datetime, dead: bool = False) -> None:
    """Make a worker known; nothing if it is."""
    document: WorkerDocument = {"_id": worker, "lease_until": lease_until, "dead": dead, "stops": 0}
    try:
        workers().insert_one(cast(Document, document))
    except DuplicateKeyError:
        return


@mongo_errors
def renew_worker(worker: str, *, lease_until: datetime) -> WorkerDocument | None:
    """Renew the lease, also one that has run out; None if the worker was declared dead."""
    alive = {"_id": worker, "dead": False}
    workers().update_one(alive, {"$max": {"lease_until": lease_until}})
    return cast("WorkerDocument | None", workers().find_one(alive))


@mongo_errors
def end_worker(worker: str, *, expired_at: datetime | None = None) -> bool:
    """Declare a worker dead; if `expired_at` is given, only when its lease has run out by then.

    False if it was renewed meanwhile, or another process was faster.
    """
    alive: Document = {"_id": worker, "dead": False}
    if expired_at is not None:
        alive["lease_until"] = {"$lt": expired_at}
    return workers().update_one(alive, {"$set": {"dead": True}}).matched_count == 1


@mongo_errors
def find_lost_workers(moment: datetime) -> list[WorkerDocument]:
    """Those that are dead, and those whose lease has run out."""
    found = workers().find({"$or": [{"dead": True}, {"lease_until": {"$lt": moment}}]})
    return cast("list[WorkerDocument]", list(found))


@mongo_errors
def find_workers() -> dict[str, WorkerDocument]:
    """All that are known, by name."""
    found = cast("list[WorkerDocument]", list(workers().find()))
    return {worker["_id"]: worker for worker in found}


@mongo_errors
def forget_worker(worker: str) -> None:
    """Delete a dead worker that nothing can be written by any more."""
    workers().delete_one({"_id": worker, "dead": True})


@mongo_errors
def find_unknown_worker() -> str | None:
    """A worker that a running reply names and that is not known: its collection was lost, or restored without it."""
    known = [worker["_id"] for worker in workers().find({}, {"_id": 1})]
    strange = {"reply.worker": {"$exists": True, "$nin": known}}
    found = conversations(urgent=True).find(strange, {"reply.worker": 1}).hint(WRITTEN_BY).limit(1)
    return next((conversation["reply"]["worker"] for conversation in found), None)
