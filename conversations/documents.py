"""The shapes of the documents in MongoDB. Each document contains the version of its shape."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args

from ai.serializers import FinishReason
from usage.ledger.tokens import TokenUsageOutput

CONVERSATION_VERSION = 1
MESSAGE_VERSION = 1

Status = Literal["complete", "generating", "stopped", "interrupted", "failed", "blocked"]
Role = Literal["user", "model"]
STATUSES, ROLES = get_args(Status), get_args(Role)

_CONVERSATION_ID = re.compile(r"[0-9a-f]{24}")
_MESSAGE_ID = re.compile(r"([0-9a-f]{24}):([0-9]{8})")


# Parts of messages, stored in the form in which they are sent.
class AttachmentOutput(TypedDict):
    id: Annotated[str, "The attachment's id."]
    mime_type: Annotated[str, "The type of the stored picture: `image/jpeg` or `image/png`."]
    width: Annotated[int, "The width in pixels, after the orientation was applied."]
    height: Annotated[int, "The height in pixels, after the orientation was applied."]
    bytes: Annotated[int, "The size of the stored file in bytes."]
    sha256: Annotated[str, "The SHA-256 of the stored file, in hexadecimal."]


class FeedbackOutput(TypedDict):
    rating: Annotated[Literal["up", "down"] | None, "The rating; null for a comment only."]
    comment: Annotated[str | None, "What the user says about the answer; null for nothing."]


class VariantOutput(TypedDict):
    content: Annotated[str, "The text."]
    finish_reason: FinishReason
    created_at: Annotated[datetime, "When it was written."]


class UserMessageDraft(TypedDict):
    """The data to write the user's message again, kept in the reply until both messages are stored."""

    content: str
    client_message_id: str | None
    body_hash: str
    attachments: list[AttachmentOutput]


class ReplyDocument(TypedDict):
    """The reply that is being written in a conversation, and the process that writes it."""

    message_id: str
    user_message: UserMessageDraft
    attempt: int
    ledger_id: str  # of this attempt
    first_title: NotRequired[str | None]  # of an untitled conversation, once this reply is complete
    first_attempt: int  # of this answer; a regenerated answer continues the count
    worker: str
    stop_requested: bool
    expires_at: datetime | None  # of a temporary conversation, and so of its messages
    started_at: datetime


class SummaryDocument(TypedDict):
    """A summary of the messages up to and including a sequence number."""

    text: str
    upto_seq: int


class SummaryClaim(TypedDict):
    """The claim of the thread that extends a conversation's summary, and its expiry."""

    by: str
    until: datetime


class ListedConversation(TypedDict):
    """The fields of a conversation that lists read."""

    _id: str
    organization_id: int | None
    title: str | None
    system_instruction: str | None
    pinned: bool
    archived: bool
    temporary: bool
    next_seq: int
    message_count: int
    change: int  # the owner's change number of the latest change, used by devices to sync; unique and increasing
    created_at: datetime
    updated_at: datetime


class ConversationDocument(ListedConversation):
    version: int
    owner_id: int
    title_set_by_user: bool
    expires_at: datetime | None
    creation_key: str | None
    creation_hash: str | None
    source_key: NotRequired[str]  # of an imported conversation: the source and its id there
    import_id: NotRequired[str]
    # Incremented by changes that a reply depends on; claims compare it. Conversations of earlier versions may lack it.
    revision: NotRequired[int]
    summary: SummaryDocument | None
    summary_claim: NotRequired[SummaryClaim | None]
    summary_tried_seq: NotRequired[int]
    reply: ReplyDocument | None
    # Ids of the latest claim's exchange, and of the earlier ones in its prompt: the next claim reads them with the
    # conversation. Conversations of earlier versions may lack it.
    recent: NotRequired[list[str]]


class PromptMessage(TypedDict):
    """The fields of a message from which a prompt is made."""

    seq: int
    role: Role
    content: str
    status: Status
    attachments: list[AttachmentOutput]


class RecentMessage(PromptMessage):
    """A message that is read with its conversation. The other fields are those of its idempotency key."""

    client_message_id: str | None
    body_hash: str | None


class ShownMessage(TypedDict):
    """The fields of a message that users see."""

    _id: str
    seq: int
    role: Role
    content: str
    status: Status
    attachments: list[AttachmentOutput]
    client_message_id: str | None
    finish_reason: str | None
    usage: TokenUsageOutput | None
    feedback: FeedbackOutput | None
    variants: list[VariantOutput]
    created_at: datetime


class MessageDocument(ShownMessage):
    version: int
    conversation_id: str
    owner_id: int
    attempt: int
    body_hash: str | None
    failure: dict[str, Any] | None
    outbox: dict[str, Any] | None
    expires_at: datetime | None


@dataclass(frozen=True)
class Exchange:
    """A user's message and the model's answer to it."""

    user_message: MessageDocument
    model_message: MessageDocument


@dataclass(frozen=True)
class Answerable:
    """A conversation, and what a claim needs of its messages, all read together.

    `recent` are the messages of the conversation's `recent`. `requested` are the messages that the reader named, whole,
    by their sequence numbers.
    """

    conversation: ConversationDocument
    recent: list[RecentMessage]
    requested: dict[int, MessageDocument]


@dataclass(frozen=True)
class ReplyKey:
    """The key of a reply, and so of its exchange; `seq` is the model message's sequence number."""

    owner_id: int
    conversation_id: str
    seq: int

    @property
    def message_id(self) -> str:
        """The model message's id."""
        return message_id(self.conversation_id, self.seq)


def is_expired(conversation: ConversationDocument, moment: datetime) -> bool:
    """Whether this is an expired temporary conversation; it may not have been deleted yet."""
    expires_at = conversation["expires_at"]
    return expires_at is not None and expires_at <= moment


def is_conversation_id(text: str) -> bool:
    return bool(_CONVERSATION_ID.fullmatch(text))


def is_message_id(text: str) -> bool:
    return bool(_MESSAGE_ID.fullmatch(text))


def message_id(conversation_id: str, seq: int) -> str:
    """The id of a message. It needs no lookup, so a page of a transcript is a list of keys."""
    return f"{conversation_id}:{seq:08d}"


def reply_seq(reply: ReplyDocument) -> int:
    """The sequence number of the model message that a reply writes."""
    return int(reply["message_id"].rpartition(":")[2])


def message_seq(conversation_id: str, mid: str) -> int | None:
    """The sequence number in a message id of this conversation; None if it is not one."""
    match = _MESSAGE_ID.fullmatch(mid)
    return int(match[2]) if match and match[1] == conversation_id else None
