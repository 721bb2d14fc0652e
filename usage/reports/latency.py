"""How long requests took, as histograms: histograms can be added up, percentiles cannot.

The limits grow by a factor of sqrt(2), so a percentile is off by a fifth at most, from a millisecond to minutes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

# The milliseconds at which one bucket ends and the next begins, up to 131 s. The first begins at 0, the last is open.
LIMITS: tuple[float, ...] = tuple(2 ** (step / 2) for step in range(35))
BUCKETS = len(LIMITS) + 1


def bucket_of(milliseconds: float) -> int:
    """The number of the bucket, 0 to BUCKETS - 1."""
    return bisect_right(LIMITS, milliseconds)


def percentile(counts: Sequence[int], fraction: float) -> float | None:
    """The milliseconds within which this fraction (0 to 1) of the requests was answered; None without requests.

    `counts` has a number for each bucket. Requests are assumed to be spread evenly within their bucket; in the open one
    they count with its lower limit.
    """
    wanted = fraction * sum(counts)
    below = 0
    for bucket, count in enumerate(counts):
        if count and below + count >= wanted:
            lower = LIMITS[bucket - 1] if bucket else 0.0
            upper = LIMITS[bucket] if bucket < len(LIMITS) else lower
            return lower + (upper - lower) * (wanted - below) / count
        below += count
    return None
