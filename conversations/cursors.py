"""The cursors of lists: the place of an item in the order of its list, from which the next page continues."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from rest_framework.serializers import ValidationError

from conversations.documents import ConversationDocument

_CHANGE = re.compile(r"([01])-(\d{1,18})")
# Milliseconds; 14 digits are the maximum of a date.
_TIME = re.compile(r"(\d{1,14})\.(.+)")


def change_cursor(conversation: ConversationDocument) -> str:
    return f"{int(conversation['pinned'])}-{conversation['change']}"


def parse_change_cursor(cursor: str) -> tuple[bool, int]:
    """Whether the conversation was pinned, and its change number. Raises ValidationError."""
    match = _CHANGE.fullmatch(cursor)
    if match is None:
        raise ValidationError({"cursor": "Not a cursor."})
    return match[1] == "1", int(match[2])


def time_cursor(time: datetime, item_id: str) -> str:
    return f"{round(time.timestamp() * 1000)}.{item_id}"


def parse_time_cursor(cursor: str, is_id: Callable[[str], bool]) -> tuple[datetime, str]:
    """The time and the id of the item. Raises ValidationError."""
    match = _TIME.fullmatch(cursor)
    if match is None or not is_id(match[2]):
        raise ValidationError({"cursor": "Not a cursor."})
    return datetime.fromtimestamp(int(match[1]) / 1000, UTC), match[2]
