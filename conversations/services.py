"""What users do with their conversations."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import Membership
from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, MessageDocument, is_conversation_id, message_seq
from edgechat.errors import ApiError, NotFound

PURGE_AFTER = timedelta(minutes=1)


class ConversationNotFound(NotFound):
    detail = "Conversation not found"


class IdempotencyConflict(ApiError):
    status, code = 409, "idempotency_conflict"
    detail = "This key was used before, with another body"


class MessageNotFound(NotFound):
    detail = "Message not found"


class OrganizationNotFound(NotFound):
    detail = "Organization not found"


def get_conversation(*, owner_id: int, conversation_id: str) -> ConversationDocument:
    """The owner's conversation; ConversationNotFound for an absent, foreign or malformed id alike."""
    conversation = (
        transcripts.find_conversation(owner_id, conversation_id) if is_conversation_id(conversation_id) else None
    )
    if conversation is None:
        raise ConversationNotFound
    return conversation


def get_message(*, owner_id: int, conversation_id: str, mid: str) -> MessageDocument:
    """One message; ConversationNotFound and MessageNotFound alike for absent and foreign ones."""
    get_conversation(owner_id=owner_id, conversation_id=conversation_id)
    seq = message_seq(conversation_id, mid)
    found = transcripts.find_messages(owner_id, conversation_id, [seq]) if seq is not None else []
    if not found:
        raise MessageNotFound
    return found[0]


def create_conversation(
    *,
    owner_id: int,
    title: str | None = None,
    system_instruction: str | None = None,
    organization_id: int | None = None,
    temporary: bool = False,
    idempotency_key: str | None = None,
) -> ConversationDocument:
    """Begin a conversation, or give the one that was begun with this key in the last 24 hours.

    Raises OrganizationNotFound for an organization that the owner is not in, and IdempotencyConflict for a key that
    was used with another body.
    """
    if (
        organization_id is not None
        and not Membership.objects.filter(organization_id=organization_id, user_id=owner_id).exists()
    ):
        raise OrganizationNotFound
    body = json.dumps([title, system_instruction, organization_id, temporary])
    body_hash = hashlib.sha256(body.encode()).hexdigest()
    while True:
        earlier = transcripts.find_created(owner_id, idempotency_key) if idempotency_key is not None else None
        if earlier is not None:
            if earlier["creation_hash"] != body_hash:
                raise IdempotencyConflict
            return earlier
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
            return created


def update_conversation(*, owner_id: int, conversation_id: str, changes: dict[str, Any]) -> ConversationDocument:
    """Change title, pin, archive or system instruction; a title of the user's is never replaced by a generated one."""
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
    """Keep what the user thinks of an answer; neither rating nor comment takes it back."""
    get_message(owner_id=owner_id, conversation_id=conversation_id, mid=mid)
    feedback = {"rating": rating, "comment": comment} if rating or comment else None
    message = transcripts.set_feedback(owner_id, mid, feedback)
    if message is None:
        raise MessageNotFound
    return message


def delete_conversation(*, owner_id: int, conversation_id: str) -> None:
    if not is_conversation_id(conversation_id) or not transcripts.delete_conversation(owner_id, conversation_id):
        raise ConversationNotFound


def purge_conversations() -> int:
    """Delete temporary conversations whose time is over, and finish deletions whose process died; how many."""
    return transcripts.expire_temporary() + transcripts.purge_deleted(older_than=timezone.now() - PURGE_AFTER)
