"""Conversations as a source of summaries."""

from __future__ import annotations

from collections.abc import Iterator

from ai.summarize.queries import Transcript
from conversations.documents import ConversationDocument
from conversations.queries import charged_organization, get_conversation
from conversations.sync.export import SPEAKERS, stored_messages


def read_conversation(owner_id: int, conversation_id: str) -> Transcript:
    """The owner's conversation. Raises the errors of `get_conversation`."""
    conversation = get_conversation(owner_id=owner_id, conversation_id=conversation_id)
    return Transcript(conversation["title"], charged_organization(conversation), _spoken_texts(conversation))


def _spoken_texts(conversation: ConversationDocument) -> Iterator[tuple[str, str]]:
    """The speakers and texts of the conversation, without running, failed and blocked answers."""
    for message in stored_messages(conversation):
        if message["content"] and message["status"] in ("complete", "stopped", "interrupted"):
            yield SPEAKERS[message["role"]], message["content"]
