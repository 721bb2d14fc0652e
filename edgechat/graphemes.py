"""Cuts text between the characters that readers see: extended grapheme clusters, as defined by Unicode's UAX #29."""

from __future__ import annotations

import regex

# Real clusters have at most about 35 code points. A longer one, such as a letter with a thousand accents, may be cut.
MAX_CLUSTER = 500

_CLUSTER = regex.compile(r"\X")
_FLAG_LETTERS_BEFORE = regex.compile(r"(?r)[\U0001F1E6-\U0001F1FF]*")


def cut(text: str, limit: int) -> str:
    """The longest run of whole clusters at the start of the text that has at most `limit` characters (code points)."""
    return text if len(text) <= limit else text[: last_boundary(text, limit)]


def last_boundary(text: str, position: int) -> int:
    """The last cluster boundary at or before `position`. Reads only the text near it."""
    if position <= 0 or position >= len(text):
        return max(0, min(position, len(text)))
    start = max(0, position - MAX_CLUSTER)
    # Clusters can be found from any position except within a pair of flag letters: pairs count from the first letter.
    start -= len(_FLAG_LETTERS_BEFORE.match(text, 0, start).group()) % 2
    for match in _CLUSTER.finditer(text[start : position + MAX_CLUSTER]):
        if start + match.end() > position:
            return position if start and not match.start() else start + match.start()
    return position


def next_boundary(text: str, position: int) -> int:
    """The first cluster boundary at or after `position`."""
    start = last_boundary(text, position)
    if start >= position:
        return start
    return start + len(_CLUSTER.match(text[start : position + MAX_CLUSTER]).group())
