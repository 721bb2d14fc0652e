"""What changed on other devices, for phones that were offline."""

from __future__ import annotations

from dataclasses import dataclass

from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, is_over


@dataclass(frozen=True)
class Changes:
    conversations: list[ConversationDocument]
    deleted: list[str]
    next_since: int
    has_more: bool


def changes_since(*, owner_id: int, since: int, limit: int) -> Changes:
    """The owner's conversations changed, and those deleted, after change number `since`: the oldest change first."""
    upto = transcripts.number_changes(owner_id)
    changed = transcripts.changed_conversations(owner_id, since=since, upto=upto, limit=limit + 1)
    deleted = transcripts.deleted_conversations(owner_id, since=since, upto=upto, limit=limit + 1)
    numbers = sorted([conversation["change"] for conversation in changed] + [change for change, _ in deleted])
    has_more = len(numbers) > limit
    if has_more:
        upto = numbers[limit - 1]
    return Changes(
        [each for each in changed if each["change"] <= upto and not is_over(each, transcripts.now())],
        [gone for change, gone in deleted if change <= upto],
        max(since, upto),
        has_more,
    )
