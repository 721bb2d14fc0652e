"""The operations of users on their conversations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any, TypedDict

import structlog
from django.conf import settings
from django.db import OperationalError, transaction
from django.utils import timezone

from accounts.open_calls.endings import conversation_subject, tell_ended
from accounts.open_calls.live_accounts import is_deleted, lock_account
from accounts.open_calls.registry import OpenCall, Reading
from accounts.organizations.members import common_organizations, is_member, member_ids, memberships_among
from accounts.organizations.services import OrganizationNotFound
from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, MessageDocument, is_conversation_id, message_seq, reply_seq
from edgechat.errors import ApiError, LimitContext, NotAuthenticated, NotFound, PermissionDenied, StoreUnavailable
from edgechat.http.bodies import Keywords

logger = structlog.get_logger(__name__)

PURGE_AFTER = timedelta(minutes=1)
# More conversations than one user can create at the same time.
NEAR_LIMIT = 100


class ConversationNotFound(NotFound):
    detail = "Conversation not found"


class IdempotencyConflict(ApiError):
    status, code = 409, "idempotency_conflict"
    detail = "This key was used before, with another body"


class MessageNotFound(NotFound):
    detail = "Message not found"


class RunningReply(TypedDict):
    message_id: Annotated[str, Keywords(example="65f1c0ffee0123456789abcd:00000002")]


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


def get_conversation(*, owner_id: int, conversation_id: str) -> ConversationDocument:
    """The access check for every change of a conversation: only its owner may change it.

    Raises ConversationNotFound for an absent conversation, another user's conversation and a malformed id alike, and
    PermissionDenied for a conversation that is shared with this user.
    """
    conversation = get_readable_conversation(user_id=owner_id, conversation_id=conversation_id)
    if conversation["owner_id"] != owner_id:
        raise PermissionDenied
    return conversation


def refuse_while_replying(conversation: ConversationDocument) -> ConversationDocument:
    """The conversation without a running reply. Raises GenerationInProgress if a reply is running.

    A reply's end is stored before its conversation is freed. A user who has read the end may send, so this function
    frees the conversation if the process that wrote the reply has not done so yet, or died before.
    """
    reply = conversation["reply"]
    if reply is None:
        return conversation
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    stored = transcripts.find_messages(owner_id, conversation_id, [reply_seq(reply)], variants=False)
    if not stored or stored[0]["status"] == "generating" or stored[0]["attempt"] != reply["attempt"]:
        raise GenerationInProgress(reply["message_id"])
    complete = stored[0]["status"] == "complete"
    transcripts.release_reply(owner_id, conversation_id, reply, complete=complete)
    return refuse_while_replying(get_conversation(owner_id=owner_id, conversation_id=conversation_id))


def get_readable_conversation(*, user_id: int, conversation_id: str) -> ConversationDocument:
    """The access check for reading: the user's own conversation, or one that is shared with the user.

    A conversation is shared if it was created for an organization of which its author and the reader are members now.
    Raises ConversationNotFound for every other id.
    """
    if not is_conversation_id(conversation_id):
        raise ConversationNotFound
    conversation = transcripts.find_conversation(user_id, conversation_id)
    if conversation is not None:
        return conversation
    shared = transcripts.find_sharing(conversation_id)
    if shared is None or shared.organization_id not in common_organizations(user_id, shared.owner_id):
        raise ConversationNotFound
    conversation = transcripts.find_conversation(shared.owner_id, conversation_id)
    if conversation is None or conversation["organization_id"] != shared.organization_id:
        raise ConversationNotFound
    return conversation


def get_readable_message(*, user_id: int, conversation_id: str, mid: str) -> MessageDocument:
    """One message of a conversation that the user may read. Raises ConversationNotFound and MessageNotFound."""
    conversation = get_readable_conversation(user_id=user_id, conversation_id=conversation_id)
    return find_message(conversation, mid)


def find_message(conversation: ConversationDocument, mid: str) -> MessageDocument:
    """One message of the conversation. Raises MessageNotFound."""
    seq = message_seq(conversation["_id"], mid)
    found = transcripts.find_messages(conversation["owner_id"], conversation["_id"], [seq]) if seq is not None else []
    if not found:
        raise MessageNotFound
    return found[0]


def reading_of(conversation: ConversationDocument, *, user_id: int) -> Reading:
    """The conversation, and its sharing, on which a user's call depends."""
    own = conversation["owner_id"] == user_id
    organization_id = None if own else conversation["organization_id"]
    return Reading(conversation["owner_id"], conversation["_id"], organization_id)


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
        sharing = sharings.get(reading.conversation_id)
        organization_id = reading.organization_id
        if (
            sharing is None
            or sharing.owner_id != reading.owner_id
            or (
                organization_id is not None
                and (
                    sharing.organization_id != organization_id
                    or not {(call.user_id, organization_id), (reading.owner_id, organization_id)} <= members
                )
            )
        ):
            call.end(ConversationNotFound())


def is_shared_with(*, user_id: int, owner_id: int, conversation_ids: list[str]) -> bool:
    """Whether the user may read one of these conversations of the owner."""
    common = common_organizations(user_id, owner_id)
    return bool(common) and transcripts.has_shared(owner_id, conversation_ids, organization_ids=sorted(common))


def list_shared_conversations(
    *,
    user_id: int,
    organization_id: int,
    limit: int,
    after: tuple[datetime, str] | None = None,
    archived: bool = False,
    title_contains: str | None = None,
) -> list[ConversationDocument]:
    """The organization's conversations, the latest changed first, after (time, id). Raises OrganizationNotFound."""
    owner_ids = member_ids(organization_id=organization_id)
    if user_id not in owner_ids:
        raise OrganizationNotFound
    return transcripts.list_shared(
        owner_ids,
        organization_id=organization_id,
        limit=limit,
        after=after,
        archived=archived,
        title_contains=title_contains,
    )


def charged_organization(conversation: ConversationDocument) -> int | None:
    """The organization that is charged for a call to the model, in addition to the author; None without one.

    An organization that the author has left is not charged, even if MongoDB still has it. Raises StoreUnavailable.
    """
    organization_id = conversation["organization_id"]
    if organization_id is None:
        return None
    try:
        member = is_member(user_id=conversation["owner_id"], organization_id=organization_id)
    except OperationalError:
        raise StoreUnavailable from None
    return organization_id if member else None


def unshare_conversations(*, owner_id: int, organization_id: int) -> None:
    """Remove a former member's conversations from the organization, so that they are not shared after a new membership.

    Read access does not depend on this, so it is skipped if MongoDB is unavailable.
    """
    try:
        transcripts.unshare_conversations(owner_id, organization_id=organization_id)
    except StoreUnavailable:
        logger.warning("unsharing_failed", owner_id=owner_id, organization_id=organization_id)


def get_message(*, owner_id: int, conversation_id: str, mid: str) -> MessageDocument:
    """One message, to change it. Raises MessageNotFound and the errors of `get_conversation`."""
    return find_message(get_conversation(owner_id=owner_id, conversation_id=conversation_id), mid)


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
        with _room_for_another(owner_id):
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
            _leave_nothing_of_the_deleted(owner_id)
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
    tell_ended(conversation_subject(conversation_id))


def purge_conversations() -> int:
    """Delete expired temporary conversations, and finish deletions whose process died; the total number."""
    return transcripts.expire_temporary() + transcripts.purge_deleted(older_than=timezone.now() - PURGE_AFTER)


def _leave_nothing_of_the_deleted(owner_id: int) -> None:
    """Delete the user's data again if the account was deleted before the last write. Raises NotAuthenticated."""
    if is_deleted(owner_id):
        transcripts.delete_everything_of(owner_id)
        raise NotAuthenticated


@contextmanager
def _room_for_another(owner_id: int) -> Iterator[None]:
    """Wrap the creation of a conversation. Raises TooManyConversations at the limit.

    Near the limit, conversations are created one at a time, so that simultaneous requests cannot exceed the limit.
    """
    if transcripts.count_conversations(owner_id) < settings.MAX_CONVERSATIONS - NEAR_LIMIT:
        yield
        return
    with transaction.atomic():
        lock_account(owner_id)
        if transcripts.count_conversations(owner_id) >= settings.MAX_CONVERSATIONS:
            raise TooManyConversations
        yield
