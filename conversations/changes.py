"""What changed on other devices, for phones that were offline."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument

# A change is numbered just before it is written. One that is under way is waited for, or it would be skipped.
WAIT_SECONDS = 2.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Changes:
    conversations: list[ConversationDocument]
    deleted: list[str]
    next_since: int
    has_more: bool


def changes_since(*, owner_id: int, since: int, limit: int) -> Changes:
    """The owner's conversations changed, and those deleted, after change number `since`: the oldest change first."""
    upto, settled = _settled(owner_id)
    changed = transcripts.changed_conversations(owner_id, since=since, upto=upto, limit=limit + 1)
    deleted = transcripts.deleted_conversations(owner_id, since=since, upto=upto, limit=limit + 1)
    numbers = sorted([conversation["change"] for conversation in changed] + [change for change, _ in deleted])
    has_more = len(numbers) > limit
    if has_more:
        upto = numbers[limit - 1]
    elif not settled:
        # Told now, and once more next time, together with what is still under way.
        return Changes(changed, [gone for _, gone in deleted], since, has_more=False)
    return Changes(
        [conversation for conversation in changed if conversation["change"] <= upto],
        [gone for change, gone in deleted if change <= upto],
        max(since, upto),
        has_more,
    )


def _settled(owner_id: int) -> tuple[int, bool]:
    deadline = time.monotonic() + WAIT_SECONDS
    pause = threading.Event()
    while True:
        upto, settled = transcripts.changes_settled(owner_id)
        if settled or time.monotonic() >= deadline:
            return upto, settled
        pause.wait(POLL_SECONDS)
