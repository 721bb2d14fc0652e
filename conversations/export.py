"""A conversation as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rest_framework.utils.encoders import JSONEncoder

from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, MessageDocument
from conversations.serializers import conversation_body, message_body

SPEAKERS = {"user": "User", "model": "Model"}


def export_json(conversation: ConversationDocument) -> Iterator[bytes]:
    """`{"conversation": C, "messages": [M]}`, a few messages in memory at a time."""
    yield b'{"conversation": ' + _json(conversation_body(conversation)) + b', "messages": ['
    for number, message in enumerate(stored_messages(conversation, variants=True)):
        yield (b",\n" if number else b"\n") + _json(message_body(message))
    yield b"\n]}\n"


def export_markdown(conversation: ConversationDocument) -> Iterator[bytes]:
    """The title as a heading, then each message below one of its own."""
    yield f"# {conversation['title'] or 'Conversation'}\n".encode()
    if conversation["system_instruction"]:
        yield f"\n> {conversation['system_instruction']}\n".encode()
    for message in stored_messages(conversation):
        status = "" if message["status"] == "complete" else f" ({message['status']})"
        heading = f"{SPEAKERS[message['role']]}, {message['created_at']:%Y-%m-%d %H:%M} UTC{status}"
        yield f"\n## {heading}\n\n{message['content']}\n".encode()


def stored_messages(conversation: ConversationDocument, *, variants: bool = False) -> Iterator[MessageDocument]:
    """All messages, oldest first, a few in memory at a time."""
    seqs = range(1, conversation["next_seq"])
    return transcripts.read_messages(conversation["owner_id"], conversation["_id"], seqs, variants=variants)


def _json(body: object) -> bytes:
    return json.dumps(body, cls=JSONEncoder, ensure_ascii=False).encode()
