"""What users read of their conversations, and of those that are shared with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db import OperationalError

from accounts.open_calls.registry import Reading
from accounts.organizations.queries import OrganizationNotFound, common_organizations, is_member, member_ids
from conversations import transcript_repository as transcripts
from conversations.documents import (
    Answerable,
    ConversationDocument,
    ListedConversation,
    MessageDocument,
    ShownMessage,
    is_conversation_id,
    message_seq,
)
from edgechat.errors import NotFound, PermissionDenied, StoreUnavailable


class ConversationNotFound(NotFound):
    detail = "Conversation not found"


class MessageNotFound(NotFound):
    detail = "Message not found"


def get_conversation(*, owner_id: int, conversation_id: str) -> ConversationDocument:
    """The access check for every change of a conversation: only its owner may change it.

    Raises ConversationNotFound for an absent conversation, another user's conversation and a malformed id alike, and
    PermissionDenied for a conversation that is shared with this user.
    """
    conversation = get_readable_conversation(user_id=owner_id, conversation_id=conversation_id)
    if conversation["owner_id"] != owner_id:
        raise PermissionDenied
    return conversation


def get_answerable(*, owner_id: int, conversation_id: str, seqs: Iterable[int] = ()) -> Answerable:
    """The same check before a reply, with what the reply needs of the messages, in one command."""
    if is_conversation_id(conversation_id):
        found = transcripts.find_answerable(owner_id, conversation_id, seqs=seqs)
        if found is not None:
            return found
    return Answerable(get_conversation(owner_id=owner_id, conversation_id=conversation_id), [], {})


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
    shared = transcripts.find_sharings([conversation_id]).get(conversation_id)
    if shared is None or shared.organization_id is None:
        raise ConversationNotFound
    if shared.organization_id not in common_organizations(user_id, shared.owner_id):
        raise ConversationNotFound
    conversation = transcripts.find_conversation(shared.owner_id, conversation_id)
    if conversation is None or conversation["organization_id"] != shared.organization_id:
        raise ConversationNotFound
    return conversation


def get_message(*, owner_id: int, conversation_id: str, mid: str) -> MessageDocument:
    """One message, to change it. Raises MessageNotFound and the errors of `get_conversation`."""
    return find_message(get_conversation(owner_id=owner_id, conversation_id=conversation_id), mid)


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


def read_messages(conversation: ConversationDocument, seqs: range) -> Iterator[ShownMessage]:
    """The conversation's messages with these sequence numbers, in this order, with their variants."""
    return transcripts.read_messages(conversation["owner_id"], conversation["_id"], seqs, variants=True)


def reading_of(conversation: ConversationDocument, *, user_id: int) -> Reading:
    """The conversation, and its sharing, on which a user's call depends."""
    own = conversation["owner_id"] == user_id
    organization_id = None if own else conversation["organization_id"]
    return Reading(conversation["owner_id"], conversation["_id"], organization_id)


def is_shared_with(*, user_id: int, owner_id: int, conversation_ids: list[str]) -> bool:
    """Whether the user may read one of these conversations of the owner."""
    common = common_organizations(user_id, owner_id)
    sharings = transcripts.find_sharings(conversation_ids).values() if common else ()
    return any(sharing.owner_id == owner_id and sharing.organization_id in common for sharing in sharings)


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


def list_conversations(*, user_id: int, organization_id: int | None = None, **chosen: Any) -> list[ListedConversation]:
    """The user's conversations, or those that the organization's members share, the latest changed first.

    `chosen` are the arguments of `transcripts.list_conversations` or of `transcripts.list_shared`. Raises
    OrganizationNotFound if the user is not a member.
    """
    if organization_id is None:
        return transcripts.list_conversations(user_id, **chosen)
    owner_ids = member_ids(organization_id=organization_id)
    if user_id not in owner_ids:
        raise OrganizationNotFound
    return transcripts.list_shared(owner_ids, organization_id=organization_id, **chosen)
