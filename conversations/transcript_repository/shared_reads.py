"""Conversations that are shared in organizations. `conversations.queries` decides whether a user may read one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, cast

from conversations.documents import ConversationDocument, is_over
from conversations.transcript_repository.change_numbers import unnumbered_change
from conversations.transcript_repository.collections import NEVER, conversations, now
from conversations.transcript_repository.conversation_store import UNLISTED, page_of, title_filter
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
        if not is_over(each, moment)
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
) -> list[ConversationDocument]:
    """These owners' conversations in the organization, the latest changed first; with `after`, those after (time, id).

    They are ordered by time, because each owner has separate change numbers. Temporary conversations are excluded.
    """
    chosen: Document = {
        "organization_id": organization_id,
        "archived": archived,
        "expires_at": NEVER,
        "owner_id": {"$in": owner_ids},
    }
    if title_contains:
        chosen["title"] = title_filter(title_contains)
    found: list[Document] = []
    if after is not None:
        at, conversation_id = after
        found = _changed_at({**chosen, "_id": {"$lt": conversation_id}}, at, title_contains)
        chosen["updated_at"] = {"$lt": at}
    # The index has no ids. Conversations with equal times are sorted here; all with the last time are read for that.
    latest = conversations().find(chosen, UNLISTED).sort("updated_at", -1)
    earlier = page_of(latest, title_contains, limit=limit)
    if len(earlier) == limit:
        last = earlier[-1]["updated_at"]
        chosen.pop("updated_at", None)
        earlier = [each for each in earlier if each["updated_at"] != last]
        earlier += _changed_at(chosen, last, title_contains)
    for _, together in groupby(earlier, itemgetter("updated_at")):
        found += sorted(together, key=itemgetter("_id"), reverse=True)
    return cast("list[ConversationDocument]", found[:limit])


@mongo_errors
def unshare_conversations(owner_id: int, *, organization_id: int) -> None:
    """Remove the owner's conversations from an organization."""
    conversations().update_many(
        {"owner_id": owner_id, "organization_id": organization_id},
        {"$set": {"organization_id": None, "change": unnumbered_change()}},
    )


def _changed_at(chosen: Document, at: datetime, title_contains: str | None) -> list[Document]:
    together = conversations().find({**chosen, "updated_at": at}, UNLISTED).sort("_id", -1)
    return page_of(together, title_contains)
