"""What changed on other devices, for phones that were offline."""

from __future__ import annotations

from dataclasses import dataclass

from conversations import transcript_repository as transcripts
from conversations.serializers import conversation_body
from edgechat.answer_bytes import encode_json, take_page


@dataclass(frozen=True)
class Changes:
    """`bodies` are conversations as JSON."""

    bodies: list[bytes]
    deleted: list[str]
    next_since: int
    has_more: bool


def changes_since(*, owner_id: int, since: int, limit: int) -> Changes:
    """The owner's conversations changed, and those deleted, after change number `since`: the oldest change first.

    Nothing is told of temporary ones.
    """
    upto = transcripts.number_changes(owner_id)
    changed = transcripts.changed_conversations(owner_id, since=since, upto=upto, limit=limit + 1)
    deleted = transcripts.deleted_conversations(owner_id, since=since, upto=upto, limit=limit + 1)
    numbers = sorted([conversation["change"] for conversation in changed] + [change for change, _ in deleted])
    has_more = len(numbers) > limit
    if has_more:
        upto = numbers[limit - 1]
    encoded = ((each, encode_json(conversation_body(each))) for each in changed if each["change"] <= upto)
    page, cut = take_page(encoded, lambda each: len(each[1]))
    if cut:
        upto = page[-1][0]["change"]
    return Changes(
        [body for _, body in page],
        [gone for change, gone in deleted if change <= upto],
        max(since, upto),
        has_more or cut,
    )
