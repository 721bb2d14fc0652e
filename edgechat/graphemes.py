"""Cutting text between what readers take for characters: extended grapheme clusters, as Unicode's UAX #29 has them."""

from __future__ import annotations

import regex

# Real ones have 35 code points or so. One that is longer, such as a letter under a thousand accents, may be cut.
MAX_CLUSTER = 500

_CLUSTER = regex.compile(r"\X")
_FLAG_LETTERS_BEFORE = regex.compile(r"(?r)[\U0001F1E6-\U0001F1FF]*")


def cut(text: str, limit: int) -> str:
    """The longest beginning of whole clusters that has at most `limit` characters (code points)."""
    return text if len(text) <= limit else text[: last_boundary(text, limit)]


def last_boundary(text: str, position: int) -> int:
    """The last place at or before `position` that is not within a cluster. Reads only what is near it."""
    if position <= 0 or position >= len(text):
        return max(0, min(position, len(text)))
    start = max(0, position - MAX_CLUSTER)
    # From any other place clusters are found again with the next one; flags are pairs, counted from the first.
    start -= len(_FLAG_LETTERS_BEFORE.match(text, 0, start).group()) % 2
    for match in _CLUSTER.finditer(text[start : position + MAX_CLUSTER]):
        if start + match.end() > position:
            return position if start and not match.start() else start + match.start()
    return position


def next_boundary(text: str, position: int) -> int:
    """The first place at or behind `position` that is not within a cluster."""
    start = last_boundary(text, position)
    if start >= position:
        return start
    return start + len(_CLUSTER.match(text[start : position + MAX_CLUSTER]).group())
