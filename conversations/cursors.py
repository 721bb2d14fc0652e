"""The cursors of lists: the position of an item in the order of its list, after which the next page starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from conversations.documents import ListedConversation

_CHANGE = re.compile(r"([01])-(\d{1,18})")
# Milliseconds; 14 digits are the maximum of a date.
_TIME = re.compile(r"(\d{1,14})\.(.+)")


def change_cursor(conversation: ListedConversation) -> str:
    return f"{int(conversation['pinned'])}-{conversation['change']}"


def parse_change_cursor(cursor: str) -> tuple[bool, int] | None:
    """Whether the conversation was pinned, and its change number; None for another text."""
    match = _CHANGE.fullmatch(cursor)
    return (match[1] == "1", int(match[2])) if match else None


def time_cursor(time: datetime, item_id: str) -> str:
    return f"{round(time.timestamp() * 1000)}.{item_id}"


def parse_time_cursor(cursor: str, is_id: Callable[[str], bool]) -> tuple[datetime, str] | None:
    """The time and the id of the item; None for another text."""
    match = _TIME.fullmatch(cursor)
    return (datetime.fromtimestamp(int(match[1]) / 1000, UTC), match[2]) if match and is_id(match[2]) else None
