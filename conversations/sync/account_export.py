"""This app's part of a user's data export: conversations with their messages, todos and pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Annotated, TypedDict, cast

from accounts.lifecycle.data_export import Record, record_of, rows_of
from conversations import transcript_repository as transcripts
from conversations.attachments.files import AttachmentNotFound, open_file
from conversations.attachments.queries import attachment_body
from conversations.documents import AttachmentOutput
from conversations.models import Attachment, Todo
from conversations.serializers import ConversationOutput, MessageOutput, conversation_body, message_body
from conversations.sync.export import stored_messages

# A multiple of three, so that there is no Base64 padding between pieces.
PIECE_BYTES = 3 * 64 * 1024


class MessageRecord(MessageOutput):
    conversation_id: Annotated[str, "The id of the message's conversation."]


class TodoRecord(TypedDict):
    id: Annotated[int, "The todo's id."]
    title: Annotated[str, "What is to be done."]
    description: Annotated[str | None, "More about it; null without one."]
    completed: Annotated[bool, "Whether it is done."]
    archived: Annotated[bool, "Whether it is put away."]
    conversation_id: Annotated[str, "The conversation in which it was found; empty without one."]
    message_id: Annotated[str, "The message that names it; empty without one."]
    created_at: Annotated[datetime, "When it was created."]
    updated_at: Annotated[datetime | None, "When it was last changed; null until then."]


class AttachmentRecord(AttachmentOutput):
    created_at: Annotated[datetime, "When it was uploaded."]
    content: Annotated[str | None, "The stored file in Base64; null if it is gone."]


TYPES = {
    "conversation": ("conversations", ConversationOutput),
    "message": ("messages", MessageRecord),
    "todo": ("todos", TodoRecord),
    "attachment": ("attachments", AttachmentRecord),
}


def export_conversations(user_id: int) -> Iterator[Record]:
    """Each conversation before its messages. An attachment's `content` is its stored file in Base64, null if gone."""
    # Only the ids are all in memory.
    for conversation_id in transcripts.conversation_ids(user_id):
        conversation = transcripts.find_conversation(user_id, conversation_id)
        if conversation is None:
            continue
        yield "conversation", conversation_body(conversation)
        for message in stored_messages(conversation, variants=True):
            line: MessageRecord = {"conversation_id": conversation_id, **message_body(message)}
            yield "message", line
    for todo in rows_of(Todo.objects.filter(owner_id=user_id)):
        yield "todo", record_of(TodoRecord, todo)
    for attachment in rows_of(Attachment.objects.filter(owner_id=user_id)):
        content = cast("str | None", _content(attachment))
        yield (
            "attachment",
            AttachmentRecord(**attachment_body(attachment), created_at=attachment.created_at, content=content),
        )


def _content(attachment: Attachment) -> Iterator[str] | None:
    try:
        file, _, _ = open_file(attachment.id, "stored")
    except AttachmentNotFound:
        return None
    return _base64(file)


def _base64(file: IO[bytes]) -> Iterator[str]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield base64.b64encode(piece).decode()
