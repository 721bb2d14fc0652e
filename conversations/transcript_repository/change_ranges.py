"""Ranges of change numbers that probably hold one page of an owner's conversations.

A server that walks an index in the order of a sort stops at the limit, but SecantusDB reads the whole range first. A
list therefore tries a narrow range, and reads everything only if that does not fill the page.
"""

from __future__ import annotations

from conversations.transcript_repository.change_numbers import is_unnumbered, latest_number

# For each conversation of a page, because changes leave gaps between the numbers.
_NUMBERS_EACH = 2
# Where the first page of (owner, archived, length) ended when this process last read it; 0 if it was not full. The next
# one ends there or above, because changes move conversations up, unless some were deleted or archived.
_ends: dict[tuple[int, bool, int], int] = {}
_MOST_ENDS = 10_000


def likely_end(owner_id: int, *, archived: bool, count: int, below: int | None) -> int:
    """The change number where a page of `count` conversations, below a number or the first, probably ends."""
    if below is not None:
        return max(0, below - width(count))
    known = _ends.get((owner_id, archived, count))
    return max(0, latest_number(owner_id) - width(count)) if known is None else known


def note_end(owner_id: int, *, archived: bool, count: int, end: int) -> None:
    """Remember where a first page ended."""
    if not is_unnumbered(end):
        if len(_ends) >= _MOST_ENDS:
            _ends.clear()
        _ends[owner_id, archived, count] = end


def width(count: int) -> int:
    """The width of a range that probably holds `count` conversations."""
    return _NUMBERS_EACH * count
