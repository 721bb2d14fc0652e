"""The operations of users on their conversations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any, TypedDict

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.open_calls.endings import announce_end, conversation_subject
from accounts.open_calls.live_accounts import is_deleted, lock_account
from accounts.open_calls.registry import OpenCall
from accounts.organizations.queries import OrganizationNotFound, is_member, memberships_among
from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, MessageDocument, is_conversation_id
from conversations.queries import ConversationNotFound, MessageNotFound, get_conversation, get_message
from edgechat.errors import ApiError, LimitContext, NotAuthenticated, StoreUnavailable
from edgechat.http.bodies import Keywords
from edgechat.http.idempotency import IdempotencyConflict
from edgechat.metrics import catalog

logger = structlog.get_logger(__name__)

PURGE_AFTER = timedelta(minutes=1)
# More conversations than one user can create at the same time.
NEAR_LIMIT = 100


class RunningReply(TypedDict):
    message_id: Annotated[
        str, "The id of the reply that is being written.", Keywords(example="65f1c0ffee0123456789abcd:00000002")
    ]


class GenerationInProgress(ApiError):
    status, code = 409, "generation_in_progress"
    detail = "A reply is being written in this conversation"
    context_body = RunningReply

    def __init__(self, mid: str) -> None:
        super().__init__(context=RunningReply(message_id=mid))


class TooManyConversations(ApiError):
    status, code, detail = 409, "too_many_conversations", "An account can have 100000 conversations"
    context_body = LimitContext

    def __init__(self) -> None:
        limit = settings.MAX_CONVERSATIONS
        super().__init__(f"An account can have {limit} conversations", context=LimitContext(limit=limit))


def end_unreadable(calls: list[OpenCall]) -> None:
    """End the calls whose conversation is deleted or no longer shared with the caller, with one query for all calls."""
    readings = [(call, call.reading) for call in calls if call.reading is not None]
    sharings = transcripts.find_sharings({reading.conversation_id for _, reading in readings})
    shared = [(call.user_id, reading) for call, reading in readings if reading.organization_id is not None]
    members = memberships_among(
        users={user for user_id, reading in shared for user in (user_id, reading.owner_id)},
        organizations={reading.organization_id for _, reading in shared if reading.organization_id is not None},
    )
    for call, reading in readings:
        sharing, organization_id = sharings.get(reading.conversation_id), reading.organization_id
        if organization_id is None:
            is_readable = sharing is not None and sharing.owner_id == reading.owner_id
        else:
            both = {(call.user_id, organization_id), (reading.owner_id, organization_id)}
            is_readable = sharing == (reading.owner_id, organization_id) and both <= members
        if not is_readable:
            call.end(ConversationNotFound())


def unshare_conversations(*, owner_id: int, organization_id: int) -> None:
    """Remove a former member's conversations from the organization, so that they are not shared after a new membership.

    Read access does not depend on this, so it is skipped if MongoDB is unavailable.
    """
    try:
        transcripts.unshare_conversations(owner_id, organization_id=organization_id)
    except StoreUnavailable:
        logger.warning("unsharing_failed", owner_id=owner_id, organization_id=organization_id)


def create_conversation(
    *,
    owner_id: int,
    title: str | None = None,
    system_instruction: str | None = None,
    organization_id: int | None = None,
    temporary: bool = False,
    idempotency_key: str | None = None,
) -> ConversationDocument:
    """Create a conversation, or return the one that was created with this key in the last 24 hours.

    Raises OrganizationNotFound if the owner is not a member of the organization, IdempotencyConflict for a key that was
    used with another body, TooManyConversations, and NotAuthenticated when the account was deleted meanwhile.
    """
    if organization_id is not None and not is_member(user_id=owner_id, organization_id=organization_id):
        raise OrganizationNotFound
    body = json.dumps([title, system_instruction, organization_id, temporary])
    body_hash = hashlib.sha256(body.encode()).hexdigest()
    while True:
        earlier = transcripts.find_created(owner_id, idempotency_key) if idempotency_key is not None else None
        if earlier is not None:
            if earlier["creation_hash"] != body_hash:
                raise IdempotencyConflict
            return earlier
        with room_for_another(owner_id):
            created = transcripts.insert_conversation(
                owner_id,
                title=title,
                system_instruction=system_instruction,
                organization_id=organization_id,
                temporary=temporary,
                creation_key=idempotency_key,
                creation_hash=body_hash,
            )
        if created is not None:
            if is_deleted(owner_id):  # after the token was checked
                transcripts.delete_everything_of(owner_id)
                raise NotAuthenticated
            return created


def update_conversation(*, owner_id: int, conversation_id: str, changes: dict[str, Any]) -> ConversationDocument:
    """Change title, pin, archive or system instruction. A user's title is never replaced by a generated one."""
    conversation = get_conversation(owner_id=owner_id, conversation_id=conversation_id)
    if not changes:
        return conversation
    if "title" in changes:
        changes = {**changes, "title_set_by_user": changes["title"] is not None}
    updated = transcripts.update_conversation(owner_id, conversation_id, changes)
    if updated is None:
        raise ConversationNotFound
    return updated


def give_feedback(
    *, owner_id: int, conversation_id: str, mid: str, rating: str | None, comment: str | None
) -> MessageDocument:
    """Store the user's feedback on an answer; without rating and comment, remove it."""
    get_message(owner_id=owner_id, conversation_id=conversation_id, mid=mid)
    feedback = {"rating": rating, "comment": comment} if rating or comment else None
    message = transcripts.set_feedback(owner_id, mid, feedback)
    if message is None:
        raise MessageNotFound
    return message


def delete_conversation(*, owner_id: int, conversation_id: str) -> None:
    """Delete a conversation. Raises the errors of `get_conversation`."""
    if not is_conversation_id(conversation_id) or not transcripts.delete_conversation(owner_id, conversation_id):
        get_conversation(owner_id=owner_id, conversation_id=conversation_id)
        raise ConversationNotFound
    announce_end(conversation_subject(conversation_id))


def purge_conversations() -> int:
    """Delete expired temporary conversations, and finish deletions whose process died; the total number."""
    return transcripts.expire_temporary() + transcripts.purge_deleted(older_than=timezone.now() - PURGE_AFTER)


def conversations_left(owner_id: int) -> int:
    """How many more conversations the account can have."""
    return max(0, settings.MAX_CONVERSATIONS - transcripts.count_conversations(owner_id))


def measure_pending_deletions() -> None:
    """Set the metric of conversations whose deletion is not complete."""
    catalog.deletions_pending.labels("conversations").set(transcripts.count_unpurged())


@contextmanager
def room_for_another(owner_id: int, *, left: int | None = None) -> Iterator[None]:
    """Wrap the creation of a conversation. Raises TooManyConversations at the limit.

    Near the limit, conversations are created one at a time, so that simultaneous requests cannot exceed the limit.
    `left` is a recent result of `conversations_left`.
    """
    if (conversations_left(owner_id) if left is None else left) > NEAR_LIMIT:
        yield
        return
    with transaction.atomic():
        lock_account(owner_id)
        if not conversations_left(owner_id):
            raise TooManyConversations
        yield
