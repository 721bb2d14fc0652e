"""An exchange: a user's message and the model's answer to it."""

from __future__ import annotations

from dataclasses import dataclass

from conversations import transcript_repository as transcripts
from conversations.documents import MessageDocument, message_id
from conversations.queries import ConversationNotFound


@dataclass(frozen=True)
class Exchange:
    """The key of a stored exchange; `seq` is the model message's sequence number."""

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
    """Both messages in their current state. Raises ConversationNotFound if they were deleted."""
    seqs = (exchange.seq - 1, exchange.seq)
    messages = transcripts.find_messages(exchange.owner_id, exchange.conversation_id, seqs)
    if len(messages) < 2:
        raise ConversationNotFound
    return Pair(*messages)
