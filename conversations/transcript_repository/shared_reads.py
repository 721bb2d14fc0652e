"""Conversations that are shared in organizations. `conversations.queries` decides whether a user may read one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, cast

from conversations.documents import ConversationDocument, ListedConversation, is_expired
from conversations.transcript_repository.change_numbers import unnumbered_change
from conversations.transcript_repository.collections import NEVER, conversations, now
from conversations.transcript_repository.conversation_store import find_page
from edgechat.stores.mongo import Document, mongo_errors


class Sharing(NamedTuple):
    owner_id: int
    organization_id: int | None


@mongo_errors
def find_sharings(conversation_ids: Collection[str]) -> dict[str, Sharing]:
    """The owners and organizations of these conversations, without absent and expired ones."""
    fields = {"owner_id": 1, "organization_id": 1, "expires_at": 1}
    found = conversations().find({"_id": {"$in": sorted(conversation_ids)}}, fields)
    moment = now()
    return {
        each["_id"]: Sharing(each["owner_id"], each["organization_id"])
        for each in cast("list[ConversationDocument]", list(found))
        if not is_expired(each, moment)
    }


@mongo_errors
def list_shared(
    owner_ids: list[int],
    *,
    organization_id: int,
    limit: int,
    after: tuple[datetime, str] | None = None,
    archived: bool = False,
    title_contains: str | None = None,
) -> list[ListedConversation]:
    """These owners' conversations in the organization, the latest changed first; with `after`, those after (time, id).

    They are ordered by time, because each owner has separate change numbers. Temporary conversations are excluded.
    """
    chosen: Document = {
        "organization_id": organization_id,
        "archived": archived,
        "expires_at": NEVER,
        "owner_id": {"$in": owner_ids},
    }
    found: list[Document] = []
    if after is not None:
        at, conversation_id = after
        same_time = {**chosen, "updated_at": at, "_id": {"$lt": conversation_id}}
        found = find_page(same_time, [("_id", -1)], title_contains)
        chosen["updated_at"] = {"$lt": at}
    # The index has no ids. Conversations with equal times are sorted here; all with the last time are read for that.
    earlier = find_page(chosen, [("updated_at", -1)], title_contains, limit=limit)
    if len(earlier) == limit:
        last = earlier[-1]["updated_at"]
        earlier = [each for each in earlier if each["updated_at"] != last]
        earlier += find_page({**chosen, "updated_at": last}, [("_id", -1)], title_contains)
    for _, together in groupby(earlier, itemgetter("updated_at")):
        found += sorted(together, key=itemgetter("_id"), reverse=True)
    return cast("list[ListedConversation]", found[:limit])


@mongo_errors
def unshare_conversations(owner_id: int, *, organization_id: int) -> None:
    """Remove the owner's conversations from an organization."""
    conversations().update_many(
        {"owner_id": owner_id, "organization_id": organization_id},
        {"$set": {"organization_id": None, "change": unnumbered_change()}},
    )
