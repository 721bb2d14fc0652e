"""Deletion of the replies of deleted conversations, including running replies."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from accounts.open_calls.endings import announce_end, conversation_subject
from accounts.open_calls.slots import forget_slots
from conversations import transcript_repository as transcripts
from conversations.documents import message_id
from conversations.replies.live import LiveReply, all_running, forget
from edgechat.errors import StoreUnavailable
from edgechat.http import notices
from edgechat.processes.threads import start_thread
from edgechat.stores.redis import RedisError

logger = structlog.get_logger(__name__)

KEYS_PER_BATCH = 1000


def delete_conversations_of(owner_id: int) -> None:
    """Delete a user's conversations, and the text of their replies in Redis; repeatable. Raises StoreUnavailable.

    Redis is cleared first, because the transcripts contain the replies' names. It is cleared again afterwards, to
    remove text that was published in between. Running replies end in all processes.
    """
    known = transcripts.everything_of(owner_id)
    _forget(owner_id, known)
    transcripts.delete_everything_of(owner_id)
    if known:
        announce_end(*(conversation_subject(conversation_id) for conversation_id, _ in known))
    _forget(owner_id, known)


def hear_ended(digests: Sequence[str]) -> None:
    """Listen for `accounts.open_calls.endings.announce_end`: a reply ends when its conversation is deleted."""
    for live in all_running():
        if notices.digest(conversation_subject(live.conversation_id)) in digests:
            start_thread(_erase_if_deleted, live)


def _erase_if_deleted(live: LiveReply) -> None:
    try:
        if transcripts.find_conversation(live.owner_id, live.conversation_id) is None:
            live.erase()
    except StoreUnavailable:
        logger.warning("deleted_reply_continues", message_id=live.message_id)  # its next snapshot detects the deletion


def _forget(owner_id: int, known: list[tuple[str, int]]) -> None:
    try:
        for conversation_id, last_seq in known:
            for first in range(1, last_seq + 1, KEYS_PER_BATCH):
                seqs = range(first, min(first + KEYS_PER_BATCH, last_seq + 1))
                forget([message_id(conversation_id, seq) for seq in seqs])
        forget_slots(owner_id)
    except RedisError as error:
        raise StoreUnavailable from error
