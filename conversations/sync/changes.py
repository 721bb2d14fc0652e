"""Changes made on other devices, for devices that were offline."""

from __future__ import annotations

from conversations import transcript_repository as transcripts
from conversations.serializers import ChangesOutput, conversation_body
from edgechat.http.answer_bytes import page_of


def changes_since(*, owner_id: int, since: int, limit: int) -> ChangesOutput:
    """The owner's conversations that were changed or deleted after change number `since`, the oldest change first.

    Temporary conversations are excluded.
    """
    upto = transcripts.number_changes(owner_id)
    changed = transcripts.changed_conversations(owner_id, since=since, upto=upto, limit=limit + 1)
    deleted = transcripts.deleted_conversations(owner_id, since=since, upto=upto, limit=limit + 1)
    numbers = sorted([conversation["change"] for conversation in changed] + [change for change, _ in deleted])
    has_more = len(numbers) > limit
    if has_more:
        upto = numbers[limit - 1]
    changed = [each for each in changed if each["change"] <= upto]
    page, cut = page_of(conversation_body(each) for each in changed)
    if cut:
        upto = changed[len(page) - 1]["change"]
    return {
        "conversations": page,
        "deleted": [gone for change, gone in deleted if change <= upto],
        "next_since": max(since, upto),
        "has_more": has_more or cut,
    }
