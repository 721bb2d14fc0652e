"""Export of a conversation as a file."""

from __future__ import annotations

from collections.abc import Iterator

from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, ShownMessage
from conversations.serializers import conversation_body, message_body
from conversations.sync.markdown import closed, heading_text, quoted
from edgechat.http.answer_bytes import encode_json

SPEAKERS = {"user": "User", "model": "Model"}


def export_json(conversation: ConversationDocument) -> Iterator[bytes]:
    """`{"conversation": C, "messages": [M]}`, a few messages in memory at a time."""
    yield b'{"conversation": ' + encode_json(conversation_body(conversation)) + b', "messages": ['
    for number, message in enumerate(stored_messages(conversation, variants=True)):
        yield (b",\n" if number else b"\n") + encode_json(message_body(message))
    yield b"\n]}\n"


def export_markdown(conversation: ConversationDocument) -> Iterator[bytes]:
    """The title as a heading, then each message below its own heading, with the names of its pictures."""
    yield f"# {heading_text(conversation['title'] or '') or 'Conversation'}\n".encode()
    if conversation["system_instruction"]:
        yield f"\n{quoted(conversation['system_instruction'])}\n".encode()
    for message in stored_messages(conversation):
        status = "" if message["status"] == "complete" else f" ({message['status']})"
        heading = f"{SPEAKERS[message['role']]}, {message['created_at']:%Y-%m-%d %H:%M} UTC{status}"
        yield f"\n## {heading}\n\n{closed(message['content'])}\n".encode()
        if message["attachments"]:
            yield f"\n{_pictures(message)}\n".encode()


def stored_messages(conversation: ConversationDocument, *, variants: bool = False) -> Iterator[ShownMessage]:
    """All messages, oldest first, a few in memory at a time."""
    seqs = range(1, conversation["next_seq"])
    return transcripts.read_messages(conversation["owner_id"], conversation["_id"], seqs, variants=variants)


def _pictures(message: ShownMessage) -> str:
    return "\n\n".join(
        f"Picture {number}: `{picture['id']}`, {picture['mime_type']}, {picture['width']} × {picture['height']} pixels"
        for number, picture in enumerate(message["attachments"], start=1)
    )
