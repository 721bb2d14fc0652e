"""What users do with their conversations."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from accounts.models import Membership
from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, MessageDocument, is_conversation_id, message_seq
from edgechat.errors import NotFound

PURGE_AFTER = timedelta(minutes=1)


class ConversationNotFound(NotFound):
    detail = "Conversation not found"


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
) -> ConversationDocument:
    """Begin a conversation; OrganizationNotFound for an organization that the owner is not in."""
    if (
        organization_id is not None
        and not Membership.objects.filter(organization_id=organization_id, user_id=owner_id).exists()
    ):
        raise OrganizationNotFound
    return transcripts.insert_conversation(
        owner_id,
        title=title,
        system_instruction=system_instruction,
        organization_id=organization_id,
        temporary=temporary,
    )


def delete_conversation(*, owner_id: int, conversation_id: str) -> None:
    if not is_conversation_id(conversation_id) or not transcripts.delete_conversation(owner_id, conversation_id):
        raise ConversationNotFound


def purge_deleted_conversations() -> int:
    """Finish deletions whose process died on the way; how many."""
    return transcripts.purge_deleted(older_than=timezone.now() - PURGE_AFTER)
