"""Lazy reading of a conversation's exchanges."""

from __future__ import annotations

from collections.abc import Iterator

from conversations import transcript_repository as transcripts
from conversations.attachments.queries import prompt_pictures
from conversations.documents import MessageDocument
from conversations.prompt.context_window import Said


def newest_first(owner_id: int, conversation_id: str, *, before_seq: int, after_seq: int = 0) -> Iterator[Said]:
    """Answered exchanges between two excluded sequence numbers, newest first; `before_seq` is a user message's."""
    answer: MessageDocument | None = None
    for message in transcripts.read_messages(owner_id, conversation_id, range(before_seq - 1, after_seq, -1)):
        if answer is not None:
            yield from _answered(message, answer)
        answer = message


def oldest_first(owner_id: int, conversation_id: str, *, after_seq: int, before_seq: int) -> Iterator[Said]:
    """Answered exchanges between two excluded sequence numbers, oldest first."""
    question: MessageDocument | None = None
    for message in transcripts.read_messages(owner_id, conversation_id, range(after_seq + 1, before_seq)):
        if question is not None:
            yield from _answered(question, message)
        question = message


def _answered(question: MessageDocument, answer: MessageDocument) -> Iterator[Said]:
    """Two messages as an exchange, if the model answered.

    Failed and blocked exchanges are left out, because turns must alternate.
    """
    if (
        answer["role"] == "model"
        and answer["seq"] == question["seq"] + 1
        and answer["content"]
        and answer["status"] in ("complete", "stopped", "interrupted")
    ):
        pictures = prompt_pictures(question["attachments"])
        yield Said(question["content"], answer["content"], answer["seq"], pictures)
