"""Searching messages by their text."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TypedDict

from conversations import transcript_repository as transcripts
from conversations.sync.search_text import FoldedText, fold, pattern_of
from edgechat.graphemes import last_boundary

SNIPPET_CHARACTERS = 160
MAX_WORDS = 10

# Milliseconds; 14 digits are the maximum of a date.
_CURSOR = re.compile(r"(\d{1,14})\.([0-9a-f]{24}:\d{8})")


class SearchResultOutput(TypedDict):
    conversation_id: str
    message_id: str
    title: str | None
    snippet: str


class SearchOutput(TypedDict):
    results: list[SearchResultOutput]
    has_more: bool
    next_cursor: str | None


def is_search_cursor(text: str) -> bool:
    return bool(_CURSOR.fullmatch(text))


def search_messages(*, owner_id: int, query: str, limit: int, cursor: str | None = None) -> SearchOutput:
    """The owner's messages that contain every word of `query`, the newest first."""
    words = [fold(word) for word in query.split()]
    patterns = [pattern_of(word) for word in words]
    found: list[transcripts.FoundMessage] = []
    before = _parse_cursor(cursor)
    more = True
    while more:
        more = False
        for read, message in enumerate(transcripts.search_messages(owner_id, patterns, limit=limit + 1, before=before)):
            before = message["created_at"], message["_id"]
            more = read == limit  # more candidates in the store
            shown = snippet(message["content"], words)
            if shown is not None:
                # Only the snippet is kept, because one message can be very long.
                found.append({**message, "content": shown})
            if len(found) > limit:
                more = False
                break
    page = found[:limit]
    titles = transcripts.titles(owner_id, sorted({message["conversation_id"] for message in page}))
    results: list[SearchResultOutput] = [
        {
            "conversation_id": message["conversation_id"],
            "message_id": message["_id"],
            "title": titles.get(message["conversation_id"]),
            "snippet": message["content"],
        }
        for message in page
        if message["conversation_id"] in titles
    ]
    has_more = len(found) > limit
    return {"results": results, "has_more": has_more, "next_cursor": _cursor(page[-1]) if has_more else None}


def snippet(content: str, words: list[str]) -> str | None:
    """The part of a text around the first match of the folded words, on one line; None if a word is not in the text."""
    folded = FoldedText(content)
    places = [place for word in words if (place := folded.find(word))]
    if len(places) < len(words):
        return None
    first, behind = min(places)
    start = last_boundary(content, first - SNIPPET_CHARACTERS // 4)
    end = max(last_boundary(content, start + SNIPPET_CHARACTERS), behind)
    part = re.sub(r"\s+", " ", content[start:end]).strip()
    return f"{'…' if start else ''}{part}{'…' if end < len(content) else ''}"


def _cursor(message: transcripts.FoundMessage) -> str:
    return f"{round(message['created_at'].timestamp() * 1000)}.{message['_id']}"


def _parse_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    match = _CURSOR.fullmatch(cursor or "")
    return (datetime.fromtimestamp(int(match[1]) / 1000, UTC), match[2]) if match else None
