"""Reading a conversation's exchanges, a page at a time as far as the reader goes."""

from __future__ import annotations

from collections.abc import Iterator

from conversations import transcript_repository as transcripts
from conversations.attachments import prompt_pictures
from conversations.context_window import Said
from conversations.documents import MessageDocument

MESSAGES_AT_ONCE = 40


def newest_first(owner_id: int, conversation_id: str, *, before_seq: int, after_seq: int = 0) -> Iterator[Said]:
    """Answered exchanges between two sequence numbers, both excluded; `before_seq` is a user message's."""
    while before_seq - 1 > after_seq:
        first = max(after_seq + 1, before_seq - MESSAGES_AT_ONCE)
        messages = transcripts.find_messages(owner_id, conversation_id, range(first, before_seq))
        yield from reversed(_answered(messages))
        before_seq = first


def oldest_first(owner_id: int, conversation_id: str, *, after_seq: int, before_seq: int) -> Iterator[Said]:
    """The same the other way round."""
    while after_seq + 1 < before_seq:
        end = min(after_seq + 1 + MESSAGES_AT_ONCE, before_seq)
        yield from _answered(transcripts.find_messages(owner_id, conversation_id, range(after_seq + 1, end)))
        after_seq = end - 1


def _answered(messages: list[MessageDocument]) -> list[Said]:
    """Exchanges that the model answered: one that failed or was blocked is left out, for turns must alternate."""
    by_seq = {message["seq"]: message for message in messages}
    said = []
    for seq, answer in by_seq.items():
        question = by_seq.get(seq - 1)
        if (
            answer["role"] == "model"
            and question is not None
            and answer["content"]
            and answer["status"] in ("complete", "stopped", "interrupted")
        ):
            said.append(Said(question["content"], answer["content"], seq, prompt_pictures(question["attachments"])))
    return said
