"""The single running reply of a conversation: its two messages, its end, and the process that writes it.

The messages are stored after the claim, and changed only by the reply's current attempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pymongo import UpdateOne

from conversations.documents import (
    MESSAGE_VERSION,
    ConversationDocument,
    Exchange,
    MessageDocument,
    ReplyDocument,
    VariantOutput,
    message_id,
    reply_seq,
)
from conversations.transcript_repository.change_numbers import unnumbered_change
from conversations.transcript_repository.collections import WRITTEN_BY, conversations, messages, now
from conversations.transcript_repository.conversation_store import find_conversation
from conversations.transcript_repository.message_store import delete_messages, find_messages, latest_variants
from edgechat.metrics import catalog
from edgechat.stores.mongo import Document, mongo_errors

REPLIES_PER_BATCH = 20
MAX_UNKNOWN = 1000


@mongo_errors
def prepare_messages(
    owner_id: int, conversation_id: str, reply: ReplyDocument, *, before: Exchange | None = None
) -> Exchange:
    """Write both messages as they are at the start of a claimed reply. Any process may repeat this.

    Returns both messages as they are after the first call. Missing messages are written. A message of an earlier
    attempt is reset, and its content is kept in its variants, unless the attempt only restarts a reply whose process
    died. `before` are both messages of an earlier attempt, with their variants, if they were read before the claim.
    """
    if before is not None:
        return _begin_later_attempt(owner_id, before, reply)
    draft, attempt, seq = reply["user_message"], reply["attempt"], reply_seq(reply)
    user_message = _new_message(owner_id, conversation_id, seq - 1, reply, role="user", **draft)
    model_message = _new_message(owner_id, conversation_id, seq, reply, status="generating", attempt=attempt)
    inserts = []
    for message in (user_message, model_message):
        fields = {name: value for name, value in message.items() if name != "_id"}
        mine = {"_id": message["_id"], "owner_id": owner_id}
        inserts.append(UpdateOne(mine, {"$setOnInsert": fields}, upsert=True))
    messages().bulk_write(inserts)
    found = find_messages(owner_id, conversation_id, (seq - 1, seq)) if attempt > 1 else []
    if len(found) < 2:  # a first attempt, or deleted a moment ago
        return Exchange(user_message, model_message)
    return _begin_later_attempt(owner_id, Exchange(*found), reply)


def _begin_later_attempt(owner_id: int, before: Exchange, reply: ReplyDocument) -> Exchange:
    question, answer, attempt = before.user_message, before.model_message, reply["attempt"]
    content = reply["user_message"]["content"]
    changes = []
    if question["content"] != content:
        edited: Document = {"content": content, "variants": _with_variant(question)}
        unedited = {"_id": question["_id"], "owner_id": owner_id, "content": question["content"]}
        changes.append(UpdateOne(unedited, {"$set": edited}))
        question = cast(MessageDocument, {**question, **edited})
    if answer["attempt"] < attempt:
        reset: Document = {"attempt": attempt, "status": "generating", "content": ""}
        if answer["status"] != "generating":
            reset |= {"finish_reason": None, "failure": None, "usage": None, "feedback": None, "outbox": None}
            reset["variants"] = _with_variant(answer)
        earlier = {"attempt": answer["attempt"], "status": answer["status"]}
        changes.append(UpdateOne({"_id": answer["_id"], "owner_id": owner_id, **earlier}, {"$set": reset}))
        answer = cast(MessageDocument, {**answer, **reset})
    if changes:
        messages().bulk_write(changes)
    return Exchange(question, answer)


@mongo_errors
def save_snapshot(owner_id: int, mid: str, *, attempt: int, content: str) -> bool:
    """Store a running reply's text so far; False if this attempt no longer writes the reply."""
    result = messages().update_one(
        {"_id": mid, "owner_id": owner_id, "status": "generating", "attempt": attempt},
        {"$set": {"content": content}},
    )
    return result.matched_count == 1


@mongo_errors
def end_reply(owner_id: int, conversation_id: str, reply: ReplyDocument, final: Mapping[str, Any]) -> bool:
    """Store the end of a running reply by compare-and-set, then free the conversation; repeatable.

    False if another process has ended the reply or taken it over, or if it was deleted. The first write also puts
    `reply_finished` into the outbox. If the conversation was deleted after the claim, the messages are deleted too.
    """
    outbox = {"event": "reply_finished", "at": now()}
    mine: Document = {"_id": reply["message_id"], "owner_id": owner_id, "attempt": reply["attempt"]}
    # The second state is that of a repetition, whose first write was stored. An `$or` of both would scan all messages
    # on SecantusDB.
    states = ({"status": "generating"}, {"status": final["status"], "content": final["content"]})
    ending = {"$set": {**final, "outbox": outbox}}
    stored = any(messages().update_one({**mine, **state}, ending).matched_count for state in states)
    if stored:
        seconds = (now() - reply["started_at"]).total_seconds()
        catalog.reply_seconds.labels(final["status"]).observe(max(0.0, seconds))
    complete = stored and final["status"] == "complete"
    released = release_reply(owner_id, conversation_id, reply, complete=complete)
    if not released and find_conversation(owner_id, conversation_id) is None:
        seq = reply_seq(reply)
        delete_messages(owner_id, conversation_id, (seq - 1, seq))
    return stored


@mongo_errors
def release_reply(owner_id: int, conversation_id: str, reply: ReplyDocument, *, complete: bool) -> bool:
    """Free the conversation for the next reply; False if this attempt no longer holds the claim.

    A complete reply gives an untitled conversation its first title, unless the user removed the title.
    """
    mine = _claimed(owner_id, conversation_id, reply)
    first_title = reply.get("first_title") if complete else None
    fields: Document = {"reply": None, "change": unnumbered_change()}
    more: Document = {"$max": {"updated_at": now()}, "$inc": {"revision": 1}}
    if first_title is not None:
        untitled = {**mine, "title": None, "title_set_by_user": False}
        titled = conversations().update_one(untitled, {"$set": {**fields, "title": first_title}, **more})
        if titled.matched_count:
            return True
    released = conversations().update_one(mine, {"$set": fields, **more})
    return released.matched_count == 1


@mongo_errors
def request_stop(owner_id: int, conversation_id: str, *, mid: str, attempt: int) -> int | None:
    """Store a stop request for the process that writes a running reply, or takes it over.

    Returns the running attempt: the one that the user saw, or the one that replaced it when its process died. None if
    that answer has ended; then nothing is stored, because a regenerated answer is not to be stopped.
    """
    running: Document = {
        "_id": conversation_id,
        "owner_id": owner_id,
        "reply.message_id": mid,
        "reply.first_attempt": {"$lte": attempt},
        "reply.attempt": {"$gte": attempt},
    }
    conversations().update_one(running, {"$set": {"reply.stop_requested": True}})
    conversation = conversations().find_one(running, {"reply.attempt": 1})
    return None if conversation is None else int(conversation["reply"]["attempt"])


@mongo_errors
def find_stop_requests(*, worker: str) -> set[tuple[str, int]]:
    """(message, attempt) of this worker's replies, of all owners, for which a user requested a stop."""
    requested = {"reply.worker": worker, "reply.stop_requested": True}
    fields = {"reply.message_id": 1, "reply.attempt": 1}
    found = conversations().find(requested, fields).hint(WRITTEN_BY)
    return {(each["reply"]["message_id"], each["reply"]["attempt"]) for each in found}


@mongo_errors
def find_unknown_workers(*, known: list[str]) -> set[str]:
    """Processes that running replies name and `known` lacks; only some of them if there are very many."""
    unknown = {"reply.worker": {"$exists": True, "$nin": known}}
    found = conversations().find(unknown, {"reply.worker": 1}).hint(WRITTEN_BY).limit(MAX_UNKNOWN)
    return {conversation["reply"]["worker"] for conversation in found}


@mongo_errors
def find_workers_with_replies(workers: list[str]) -> set[str]:
    """Those of the workers that running replies name; all of them if there are very many replies."""
    found = conversations().find({"reply.worker": {"$in": workers}}, {"reply.worker": 1}).hint(WRITTEN_BY)
    named = [conversation["reply"]["worker"] for conversation in found.limit(MAX_UNKNOWN)]
    return set(named if len(named) < MAX_UNKNOWN else workers)


@mongo_errors
def find_replies_of(worker: str, *, limit: int) -> Iterator[ConversationDocument]:
    """Conversations of all owners whose running reply this worker writes; a few in memory at a time."""
    found = conversations().find({"reply.worker": worker}).hint(WRITTEN_BY).limit(limit)
    yield from cast("Iterator[ConversationDocument]", found.batch_size(REPLIES_PER_BATCH))


@mongo_errors
def take_reply(owner_id: int, conversation_id: str, reply: ReplyDocument, *, worker: str) -> bool:
    """Take a dead worker's reply over by compare-and-set.

    False if another process was faster, the reply has ended, or a stop was requested since it was read.
    """
    as_read = {
        **_claimed(owner_id, conversation_id, reply),
        "reply.worker": reply["worker"],
        "reply.stop_requested": reply["stop_requested"],
    }
    return conversations().update_one(as_read, {"$set": {"reply.worker": worker}}).matched_count == 1


@mongo_errors
def begin_attempt(owner_id: int, conversation_id: str, reply: ReplyDocument) -> bool:
    """Increment the attempt to `reply`'s, if its worker still holds the lease of the previous attempt."""
    previous = {
        **_claimed(owner_id, conversation_id, reply),
        "reply.worker": reply["worker"],
        "reply.attempt": reply["attempt"] - 1,
    }
    fields = {"reply.attempt": reply["attempt"], "reply.ledger_id": reply["ledger_id"]}
    return conversations().update_one(previous, {"$set": fields}).matched_count == 1


def _claimed(owner_id: int, conversation_id: str, reply: ReplyDocument) -> Document:
    """A filter for the conversation while this attempt holds its claim."""
    return {
        "_id": conversation_id,
        "owner_id": owner_id,
        "reply.message_id": reply["message_id"],
        "reply.attempt": reply["attempt"],
    }


def _with_variant(message: MessageDocument) -> list[VariantOutput]:
    """A message's variants with its current content, if it has any; the oldest of too many are dropped."""
    if not message["content"]:
        return message["variants"]
    current = VariantOutput(
        content=message["content"], finish_reason=message["finish_reason"], created_at=message["created_at"]
    )
    return latest_variants([*message["variants"], current])


def _new_message(owner_id: int, conversation_id: str, seq: int, reply: ReplyDocument, **fields: Any) -> MessageDocument:
    message = {
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
        "expires_at": reply["expires_at"],
        "created_at": reply["started_at"],
    }
    return cast(MessageDocument, {**message, **fields})
