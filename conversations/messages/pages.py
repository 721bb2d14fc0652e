"""The sequence numbers of a transcript's pages. Pure functions, because sequence numbers have no gaps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """Sequence numbers in ascending order, and whether there are more in the requested direction."""

    seqs: range
    has_more: bool


def message_page(
    last_seq: int,
    *,
    limit: int,
    skip: int | None = None,
    before: int | None = None,
    after: int | None = None,
    latest: bool = False,
) -> Page:
    """A page of a conversation whose newest message is `last_seq`; without parameters, the oldest page."""
    if latest:
        before = last_seq + 1
    if before is not None:
        end = min(before, last_seq + 1)
        first = max(1, end - limit)
        return Page(range(first, end), has_more=first > 1 and end > 1)
    first = min(after if after is not None else skip or 0, last_seq) + 1
    end = min(first + limit, last_seq + 1)
    return Page(range(first, max(first, end)), has_more=end <= last_seq and first <= last_seq)
