"""Forgetting what Redis has of a user's replies."""

from __future__ import annotations

from conversations import transcript_repository as transcripts
from conversations.documents import message_id
from conversations.replies import channel
from edgechat.errors import StoreUnavailable
from edgechat.redis import RedisError

KEYS_AT_ONCE = 1000


def forget_replies_of(owner_id: int) -> None:
    """Delete the text of a user's replies that is kept for resuming streams; repeatable. Raises StoreUnavailable.

    It has to come before the transcripts go, which know the replies' names. A reply that is still being written may
    leave its key behind, for an hour at most.
    """
    for conversation_id, last_seq in transcripts.everything_of(owner_id):
        for first in range(1, last_seq + 1, KEYS_AT_ONCE):
            seqs = range(first, min(first + KEYS_AT_ONCE, last_seq + 1))
            try:
                channel.forget([message_id(conversation_id, seq) for seq in seqs])
            except RedisError as error:
                raise StoreUnavailable from error
