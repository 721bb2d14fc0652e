"""A user's message with the model's answer to it: naming the two, and reading them."""

from __future__ import annotations

from dataclasses import dataclass

from conversations import transcript_repository as transcripts
from conversations.documents import MessageDocument, message_id
from conversations.services import ConversationNotFound


@dataclass(frozen=True)
class Exchange:
    """Where an exchange is stored; `seq` is the model message's."""

    owner_id: int
    conversation_id: str
    seq: int

    @property
    def message_id(self) -> str:
        """The model message's id."""
        return message_id(self.conversation_id, self.seq)


@dataclass(frozen=True)
class Pair:
    user_message: MessageDocument
    model_message: MessageDocument


def find_pair(exchange: Exchange) -> Pair:
    """Both messages as they are now. Raises ConversationNotFound when they are not stored: it was deleted."""
    seqs = (exchange.seq - 1, exchange.seq)
    messages = transcripts.find_messages(exchange.owner_id, exchange.conversation_id, seqs)
    if len(messages) < 2:
        raise ConversationNotFound
    return Pair(*messages)
