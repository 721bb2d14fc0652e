"""Conversations: creating, finding, listing, changing and claiming them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, cast

from bson import ObjectId
from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from conversations.documents import (
    CONVERSATION_VERSION,
    ConversationDocument,
    ListedConversation,
    MessageDocument,
    ReplyDocument,
    is_expired,
)
from conversations.sync.search_text import fold, pattern_of
from conversations.transcript_repository.change_numbers import is_unnumbered, number_changes, unnumbered_change
from conversations.transcript_repository.change_ranges import likely_end, note_end, width
from conversations.transcript_repository.collections import NEVER, conversations, now, revision_of
from conversations.transcript_repository.collections import messages as message_collection
from conversations.transcript_repository.collections import tombstones as tombstone_collection
from edgechat.stores.mongo import Document, mongo_errors

TEMPORARY_LIFETIME = timedelta(hours=24)
CREATION_KEY_LIFETIME = timedelta(hours=24)

_LISTED = dict.fromkeys(ListedConversation.__annotations__, 1)
_DOCUMENTS_PER_BATCH = 100


@mongo_errors
def insert_conversation(
    owner_id: int,
    *,
    title: str | None = None,
    system_instruction: str | None = None,
    organization_id: int | None = None,
    temporary: bool = False,
    creation_key: str | None = None,
    creation_hash: str | None = None,
) -> ConversationDocument | None:
    """A new conversation; None if the owner has one with this creation key, which `find_created` returns."""
    created_at = now()
    document: ConversationDocument = {
        "_id": str(ObjectId()),
        "version": CONVERSATION_VERSION,
        "owner_id": owner_id,
        "organization_id": organization_id,
        "title": title,
        "title_set_by_user": title is not None,
        "system_instruction": system_instruction,
        "pinned": False,
        "archived": False,
        "temporary": temporary,
        "expires_at": created_at + TEMPORARY_LIFETIME if temporary else None,
        "creation_key": creation_key,
        "creation_hash": creation_hash,
        "next_seq": 1,
        "message_count": 0,
        "revision": 0,
        "summary": None,
        "reply": None,
        "change": unnumbered_change(),
        "created_at": created_at,
        "updated_at": created_at,
    }
    try:
        conversations().insert_one(cast(Document, document))
    except DuplicateKeyError:
        return None
    return document


@mongo_errors
def insert_transcript(owner_id: int, conversation: ConversationDocument, messages: Sequence[MessageDocument]) -> bool:
    """Store a whole conversation, with a new change number; False if its id exists, or was deleted in the last 30 days.

    The messages come first, so that a conversation that was stored has all of them. Repeatable.
    """
    conversation_id = conversation["_id"]
    for collection in (conversations(), tombstone_collection()):
        if collection.find_one({"_id": conversation_id}, {"_id": 1}) is not None:
            return False
    inserts = []
    for message in messages:
        fields = {name: value for name, value in message.items() if name != "_id"}
        mine = {"_id": message["_id"], "owner_id": owner_id}
        inserts.append(UpdateOne(mine, {"$setOnInsert": fields}, upsert=True))
    message_collection().bulk_write(inserts)
    document = {**conversation, "owner_id": owner_id, "change": unnumbered_change()}
    try:
        conversations().insert_one(document)
    except DuplicateKeyError:
        return False
    return True


@mongo_errors
def find_created(owner_id: int, creation_key: str) -> ConversationDocument | None:
    """The conversation created with this key in the last 24 hours; the key is removed from an older conversation."""
    conversations().update_one(
        {
            "owner_id": owner_id,
            "creation_key": creation_key,
            "created_at": {"$lt": now() - CREATION_KEY_LIFETIME},
        },
        {"$set": {"creation_key": None}},
    )
    found = conversations().find_one({"owner_id": owner_id, "creation_key": creation_key})
    return cast("ConversationDocument | None", found)


@mongo_errors
def find_conversation(owner_id: int, conversation_id: str) -> ConversationDocument | None:
    """The owner's conversation; None if it is absent, another user's, or an expired temporary conversation."""
    found = conversations().find_one({"_id": conversation_id, "owner_id": owner_id})
    conversation = cast("ConversationDocument | None", found)
    return None if conversation is None or is_expired(conversation, now()) else conversation


@mongo_errors
def list_conversations(
    owner_id: int,
    *,
    limit: int,
    skip: int = 0,
    after: tuple[bool, int] | None = None,
    archived: bool = False,
    pinned_first: bool = False,
    title_contains: str | None = None,
) -> list[ListedConversation]:
    """Up to `limit` conversations, the latest changed first; with `pinned_first`, pinned ones before all others.

    The list starts after `skip` conversations, or after the (pinned, change) of the previous page's last conversation.
    Temporary conversations are excluded.
    """
    chosen: Document = {"owner_id": owner_id, "temporary": False, "archived": archived}

    def find_pinned_first() -> list[Document]:
        # The index ranges are queried one after the other: for an `$or`, the server would sort all documents.
        ranges: list[Document] = [{}]
        if after is not None:
            pinned, change = after
            ranges = [{"pinned": pinned, "change": {"$lt": change}}, *[{"pinned": False}] * pinned]
        found: list[Document] = []
        for each in ranges:
            if len(found) < limit:
                order = [("pinned", -1), ("change", -1)]
                found += find_page({**chosen, **each}, order, title_contains, skip=skip, limit=limit - len(found))
        return found

    def find_latest_changed() -> list[Document]:
        below, count = None if after is None else after[1], skip + limit
        end = 0 if title_contains else likely_end(owner_id, archived=archived, count=count, below=below)
        while True:
            change = {"$gte": end} if below is None else {"$gte": end, "$lt": below}
            found = find_page({**chosen, "change": change}, [("change", -1)], title_contains, skip=skip, limit=limit)
            if len(found) == limit or end == 0:
                break
            end = 0
        if below is None and not title_contains:
            end = found[-1]["change"] if len(found) == limit else 0
            note_end(owner_id, archived=archived, count=count, end=end)
        return found

    found = numbered(owner_id, find_pinned_first if pinned_first else find_latest_changed)
    return cast("list[ListedConversation]", found)


def find_page(
    chosen: Document,
    order: list[tuple[str, int]],
    title_contains: str | None,
    *,
    limit: int = 0,
    skip: int = 0,
) -> list[Document]:
    """The first `limit` (0: all) chosen conversations after `skip` others; no further documents are read."""
    if not title_contains:
        return list(conversations().find(chosen, _LISTED).sort(order).skip(skip).limit(limit))
    folded = fold(title_contains)
    # The pattern finds all titles that contain the text, and a few others.
    matching = conversations().find({**chosen, "title": {"$regex": pattern_of(folded)}}, _LISTED).sort(order)
    titled = (each for each in matching.batch_size(_DOCUMENTS_PER_BATCH) if folded in fold(each["title"]))
    return list(islice(titled, skip, skip + limit if limit else None))


def numbered(owner_id: int, find: Callable[[], list[Document]]) -> list[Document]:
    """The result of `find`, with change numbers, after which the next page starts."""
    found = find()
    if any(is_unnumbered(conversation["change"]) for conversation in found):
        number_changes(owner_id)
        found = find()
    return found


@mongo_errors
def count_conversations(owner_id: int) -> int:
    return conversations().count_documents({"owner_id": owner_id})


@mongo_errors
def conversation_ids(owner_id: int) -> list[str]:
    """The ids of all conversations of the owner, in the order of their creation."""
    return sorted(found["_id"] for found in conversations().find({"owner_id": owner_id}, {"_id": 1}))


@mongo_errors
def update_conversation(owner_id: int, conversation_id: str, fields: Mapping[str, Any]) -> ConversationDocument | None:
    """Change fields of a conversation; None if it does not exist."""
    conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id},
        {
            "$set": {**fields, "change": unnumbered_change()},
            "$max": {"updated_at": now()},
            "$inc": {"revision": 1},
        },
    )
    return find_conversation(owner_id, conversation_id)


@mongo_errors
def set_generated_title(owner_id: int, conversation_id: str, title: str, *, replaces: str | None) -> None:
    """Set the title in place of none or of a generated one; a title set by the user is never replaced."""
    conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id, "title": replaces, "title_set_by_user": False},
        {"$set": {"title": title, "change": unnumbered_change()}},
    )


@mongo_errors
def claim_reply(
    conversation: ConversationDocument, reply: ReplyDocument, *, recent: list[str] | None = None
) -> ConversationDocument | None:
    """Claim the conversation for a reply, and, for its first attempt, the next two sequence numbers.

    `recent` are the ids of the messages that the next claim reads with the conversation; None keeps the known ones.

    Returns the conversation after the claim; None if its `revision` has changed, because of another reply or a change
    that a reply depends on.
    """
    fields: Document = {
        "reply": reply,
        "next_seq": conversation["next_seq"] + _seqs_of(reply),
        "message_count": conversation["message_count"] + _seqs_of(reply),
        "revision": conversation.get("revision", 0) + 1,
        "change": unnumbered_change(),
    }
    if recent is not None:
        fields["recent"] = recent
    updated_at = reply["started_at"]
    taken = conversations().update_one(
        {
            "_id": conversation["_id"],
            "owner_id": conversation["owner_id"],
            "reply": None,
            "revision": revision_of(conversation),
            "next_seq": conversation["next_seq"],
        },
        {"$set": fields, "$max": {"updated_at": updated_at}},
    )
    claimed = cast(ConversationDocument, {**conversation, **fields, "updated_at": updated_at})
    return claimed if taken.matched_count else None


@mongo_errors
def undo_claim(
    claimed: ConversationDocument, reply: ReplyDocument, *, before: ConversationDocument | None = None
) -> bool:
    """Undo a claim without stored messages, and its sequence numbers; False if another process has taken it over.

    `before` is the conversation before the claim. Its time, and its place among the owner's conversations, are
    restored, unless the conversation changed, or a device received the claim, in between.
    """
    mine = {
        "_id": claimed["_id"],
        "owner_id": claimed["owner_id"],
        "reply.message_id": reply["message_id"],
        "reply.attempt": reply["attempt"],
        "reply.worker": reply["worker"],
    }
    counts = {"next_seq": -_seqs_of(reply), "message_count": -_seqs_of(reply), "revision": 1}
    restored: list[tuple[str, Any, Any]] = []
    if before is not None:
        restored.append(("change", claimed["change"], before["change"]))
        restored.append(("updated_at", claimed["updated_at"], before["updated_at"]))
    for unchanged in (restored, restored[:1], restored[1:], []):
        as_claimed = {name: value for name, value, _ in unchanged}
        as_before = {name: value for name, _, value in unchanged}
        fields = {"reply": None, "change": unnumbered_change(), **as_before}
        undone = conversations().update_one({**mine, **as_claimed}, {"$set": fields, "$inc": counts})
        if undone.matched_count:
            return True
    return False


@mongo_errors
def claim_summary(
    owner_id: int, conversation_id: str, *, claim: str, now: datetime, until: datetime
) -> ConversationDocument | None:
    """Claim the extension of a conversation's summary, then read the conversation; None if another claim is held.

    A claim expires at its `until`, on the clock that `now` comes from.
    """
    mine = {"_id": conversation_id, "owner_id": owner_id}
    # Not as an `$or`, for which SecantusDB scans all conversations.
    free: tuple[Document, ...] = ({"summary_claim": None}, {"summary_claim.until": {"$lt": now}})
    claiming = {"$set": {"summary_claim": {"by": claim, "until": until}}}
    taken = any(conversations().update_one({**mine, **state}, claiming).matched_count for state in free)
    return find_conversation(owner_id, conversation_id) if taken else None


@mongo_errors
def release_summary(owner_id: int, conversation_id: str, *, claim: str, tried_seq: int | None = None) -> None:
    """Release the claim, and store the last message for which the model returned no summary.

    0 means that there is none; None leaves the stored value unchanged.
    """
    tried = {} if tried_seq is None else {"summary_tried_seq": tried_seq}
    conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id, "summary_claim.by": claim},
        {"$set": {"summary_claim": None, **tried}},
    )


@mongo_errors
def set_summary(owner_id: int, conversation_id: str, *, text: str, upto_seq: int, replaces_upto_seq: int) -> None:
    """Store a rolling summary, unless another one was stored meanwhile."""
    known: Document = {"summary": None} if replaces_upto_seq == 0 else {"summary.upto_seq": replaces_upto_seq}
    conversations().update_one(
        {"_id": conversation_id, "owner_id": owner_id, **known},
        {"$set": {"summary": {"text": text, "upto_seq": upto_seq}}, "$inc": {"revision": 1}},
    )


@mongo_errors
def changed_conversations(owner_id: int, *, since: int, upto: int, limit: int) -> list[ListedConversation]:
    """Conversations whose latest change is in (since, upto], in the order of their changes, without temporary ones."""
    found: list[Document] = []
    end = min(upto, since + width(limit))
    while since < upto and len(found) < limit:
        # Temporary ones are left out below: with another condition, SecantusDB does not use the index for the range.
        changed = {"owner_id": owner_id, "change": {"$gt": since, "$lte": end}}
        read = list(conversations().find(changed, _LISTED).sort("change", 1).limit(limit))
        found += [each for each in read if not each["temporary"]]
        since = read[-1]["change"] if len(read) == limit else end
        end = upto
    return cast("list[ListedConversation]", found[:limit])


@mongo_errors
def deleted_conversations(owner_id: int, *, since: int, upto: int, limit: int) -> list[tuple[int, str]]:
    """(change, id) of conversations deleted in (since, upto], in order, without temporary ones; kept for 30 days."""
    chosen = {"owner_id": owner_id, "change": {"$gt": since, "$lte": upto}, "temporary": {"$ne": True}}
    found = tombstone_collection().find(chosen, {"change": 1}).sort("change", 1).limit(limit)
    return [(tombstone["change"], tombstone["_id"]) for tombstone in found]


@mongo_errors
def titles(owner_id: int, conversation_ids: list[str]) -> dict[str, str | None]:
    """The titles of these conversations, without those of other owners and temporary ones."""
    chosen = {"_id": {"$in": conversation_ids}, "owner_id": owner_id, "expires_at": NEVER}
    return {found["_id"]: found["title"] for found in conversations().find(chosen, {"title": 1})}


def _seqs_of(reply: ReplyDocument) -> int:
    """The number of sequence numbers that the claim takes: a later attempt reuses those of its exchange."""
    return 2 if reply["attempt"] == 1 else 0
