"""What a user's export has of this app: conversations with their messages, todos and pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import IO

from accounts.data_export import Record, row_fields, rows_of
from conversations import transcript_repository as transcripts
from conversations.attachments import AttachmentNotFound, attachment_body, open_attachment
from conversations.documents import ConversationDocument
from conversations.export import stored_messages
from conversations.models import Attachment, Todo
from conversations.serializers import conversation_body, message_body

# A multiple of three, or there would be padding between the pieces.
PIECE_BYTES = 3 * 64 * 1024

TYPES = {
    "conversation": "conversations",
    "message": "messages",
    "todo": "todos",
    "attachment": "attachments",
}


def export_conversations(user_id: int) -> Iterator[Record]:
    """Each conversation before its messages; an attachment's `content` is the stored file in Base64, null if gone."""
    for conversation in _conversations(user_id):
        yield "conversation", conversation_body(conversation)
        for message in stored_messages(conversation, variants=True):
            yield "message", {"conversation_id": conversation["_id"], **message_body(message)}
    links = ("conversation_id", "message_id")
    todo = ("id", "title", "description", "completed", "archived", *links, "created_at", "updated_at")
    for each in rows_of(Todo.objects.filter(owner_id=user_id)):
        yield "todo", row_fields(each, *todo)
    for attachment in rows_of(Attachment.objects.filter(owner_id=user_id)):
        body = attachment_body(attachment)
        yield "attachment", {**body, "created_at": attachment.created_at, "content": _content(attachment)}


def _conversations(owner_id: int) -> Iterator[ConversationDocument]:
    """One after the other; of all at once only the ids are in memory."""
    for conversation_id in transcripts.conversation_ids(owner_id):
        conversation = transcripts.find_conversation(owner_id, conversation_id)
        if conversation is not None:
            yield conversation


def _content(attachment: Attachment) -> Iterator[str] | None:
    try:
        file, _, _ = open_attachment(attachment, "stored")
    except AttachmentNotFound:
        return None
    return _base64(file)


def _base64(file: IO[bytes]) -> Iterator[str]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield base64.b64encode(piece).decode()
