"""What changed on other devices, for phones that were offline."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, is_over

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
    upto, settled = _latest_change(owner_id)
    changed = transcripts.changed_conversations(owner_id, since=since, upto=upto, limit=limit + 1)
    deleted = transcripts.deleted_conversations(owner_id, since=since, upto=upto, limit=limit + 1)
    numbers = sorted([conversation["change"] for conversation in changed] + [change for change, _ in deleted])
    has_more = len(numbers) > limit
    if has_more:
        upto = numbers[limit - 1]
    return Changes(
        [each for each in changed if each["change"] <= upto and not is_over(each, transcripts.now())],
        [gone for change, gone in deleted if change <= upto],
        # Told now, and once more next time, together with what is still under way.
        max(since, upto) if settled else since,
        has_more,
    )


def _latest_change(owner_id: int) -> tuple[int, bool]:
    """The owner's latest change number, and whether all up to it have landed. Later ones are not waited for, or busy
    devices could keep the answer back for ever.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    pause = threading.Event()
    upto, in_flight = transcripts.changes_in_flight(owner_id)
    while in_flight and time.monotonic() < deadline:
        pause.wait(POLL_SECONDS)
        in_flight &= transcripts.changes_in_flight(owner_id)[1]
    return upto, not in_flight
