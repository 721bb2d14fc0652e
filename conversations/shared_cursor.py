"""The cursor of an organization's conversations: milliseconds and an id, in the order of the list."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from conversations.documents import ConversationDocument

# Milliseconds; 14 digits are the maximum of a date.
_CURSOR = re.compile(r"(\d{1,14})\.([0-9a-f]{24})")


def is_shared_cursor(text: str) -> bool:
    return bool(_CURSOR.fullmatch(text))


def shared_cursor(conversation: ConversationDocument) -> str:
    return f"{round(conversation['updated_at'].timestamp() * 1000)}.{conversation['_id']}"


def parse_shared_cursor(cursor: str) -> tuple[datetime, str]:
    """The time and the id in a valid cursor."""
    milliseconds, _, conversation_id = cursor.partition(".")
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC), conversation_id
