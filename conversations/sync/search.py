"""Searching messages by their text."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, TypedDict

from conversations import transcript_repository as transcripts
from conversations.cursors import time_cursor
from conversations.sync.search_text import FoldedText, fold, pattern_of
from edgechat.graphemes import last_boundary

SNIPPET_CHARACTERS = 160


class SearchResultOutput(TypedDict):
    conversation_id: Annotated[str, "The id of the message's conversation."]
    message_id: Annotated[str, "The id of the message."]
    title: Annotated[str | None, "The title of the conversation."]
    snippet: Annotated[str, "The part of the message around the first match."]


class SearchOutput(TypedDict):
    results: Annotated[list[SearchResultOutput], "The messages found, the newest first."]
    has_more: Annotated[bool, "Whether there are more results after this page."]
    next_cursor: Annotated[str | None, "The `cursor` of the next page; null without one."]


def search_messages(
    *, owner_id: int, query: str, limit: int, before: tuple[datetime, str] | None = None
) -> SearchOutput:
    """The owner's messages that contain every word of `query`, the newest first.

    `before` are the time and the id of the last message of the page before.
    """
    words = [fold(word) for word in query.split()]
    patterns = [pattern_of(word) for word in words]
    found: list[transcripts.FoundMessage] = []
    more = True
    while more:
        more = False
        for read, message in enumerate(transcripts.search_messages(owner_id, patterns, limit=limit + 1, before=before)):
            before = message["created_at"], message["_id"]
            more = read == limit  # the store has more candidates
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
    next_cursor = time_cursor(page[-1]["created_at"], page[-1]["_id"]) if has_more else None
    return {"results": results, "has_more": has_more, "next_cursor": next_cursor}


def snippet(content: str, words: list[str]) -> str | None:
    """The part of a text around the first match of the folded words, on one line; None if a word is not in the text."""
    folded = FoldedText(content)
    matches = [match for word in words if (match := folded.find(word))]
    if len(matches) < len(words):
        return None
    match_start, match_end = min(matches)
    start = last_boundary(content, match_start - SNIPPET_CHARACTERS // 4)
    end = max(last_boundary(content, start + SNIPPET_CHARACTERS), match_end)
    part = re.sub(r"\s+", " ", content[start:end]).strip()
    return f"{'…' if start else ''}{part}{'…' if end < len(content) else ''}"
