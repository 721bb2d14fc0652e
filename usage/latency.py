"""How long requests took, counted in buckets whose limits grow by the square root of two."""

from __future__ import annotations

from collections.abc import Sequence

# Milliseconds; the last bucket, of what took longer, has none.
LIMITS: tuple[float, ...] = tuple(2 ** (step / 2) for step in range(40))


def percentile(counts: Sequence[int], fraction: float) -> float | None:
    """The milliseconds within which a fraction of the requests was answered; None without requests."""
    total = sum(counts)
    if not total:
        return None
    needed, seen = fraction * total, 0
    for limit, count in zip(LIMITS, counts, strict=False):
        seen += count
        if seen >= needed:
            return limit
    return LIMITS[-1]
