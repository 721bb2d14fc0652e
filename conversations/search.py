"""Finding messages by what they say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from conversations import transcript_repository as transcripts

SNIPPET_CHARACTERS = 160
MAX_WORDS = 10

# Milliseconds, as many as a date can have.
_CURSOR = re.compile(r"(\d{1,14})\.([0-9a-f]{24}:\d{8})")


@dataclass(frozen=True)
class SearchPage:
    results: list[dict[str, Any]]
    next_cursor: str | None


def is_search_cursor(text: str) -> bool:
    return bool(_CURSOR.fullmatch(text))


def search_messages(*, owner_id: int, query: str, limit: int, cursor: str | None = None) -> SearchPage:
    """The owner's messages that contain every word of `query`, the newest first."""
    words = query.split()[:MAX_WORDS]
    found = []
    for message in transcripts.search_messages(owner_id, words, limit=limit + 1, before=_parse_cursor(cursor)):
        # All that is kept of it, for one message can be as long as a page of others.
        message["content"] = snippet(message["content"], words)
        found.append(message)
    page = found[:limit]
    titles = transcripts.titles(owner_id, sorted({message["conversation_id"] for message in page}))
    results = [
        {
            "conversation_id": message["conversation_id"],
            "message_id": message["_id"],
            "title": titles.get(message["conversation_id"]),
            "snippet": message["content"],
        }
        for message in page
        if message["conversation_id"] in titles
    ]
    return SearchPage(results, _cursor(page[-1]) if len(found) > limit else None)


def snippet(content: str, words: list[str]) -> str:
    """The part of a text around the first of the words in it, on one line."""
    lower = content.lower()
    places = [place for word in words if (place := lower.find(word.lower())) >= 0]
    start = max(0, min(places, default=0) - SNIPPET_CHARACTERS // 4)
    part = re.sub(r"\s+", " ", content[start : start + SNIPPET_CHARACTERS]).strip()
    return f"{'…' if start else ''}{part}{'…' if start + SNIPPET_CHARACTERS < len(content) else ''}"


def _cursor(message: transcripts.FoundMessage) -> str:
    return f"{round(message['created_at'].timestamp() * 1000)}.{message['_id']}"


def _parse_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    match = _CURSOR.fullmatch(cursor or "")
    return (datetime.fromtimestamp(int(match[1]) / 1000, UTC), match[2]) if match else None
