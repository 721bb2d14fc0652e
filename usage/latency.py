"""How long requests take, as a histogram: how many of them were in each range of milliseconds."""

from __future__ import annotations

from bisect import bisect_right

# Where each range but the first begins, in milliseconds.
BOUNDS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 2000, 5000, 10_000, 30_000, 60_000)
BUCKETS = len(BOUNDS) + 1


def bucket_of(milliseconds: int) -> int:
    """The index of the range; PostgreSQL's `width_bucket(milliseconds, bounds)` is the same."""
    return bisect_right(BOUNDS, milliseconds)
