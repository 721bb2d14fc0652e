"""The histogram of request durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage.reports.latency import BUCKETS, LIMITS, bucket_of, percentile


def histogram(*milliseconds: float) -> list[int]:
    counts = [0] * BUCKETS
    for value in milliseconds:
        counts[bucket_of(value)] += 1
    return counts


def test_limits_grow_by_the_square_root_of_two_to_over_two_minutes() -> None:
    assert LIMITS[0] == 1
    assert LIMITS[2::2] == pytest.approx([2 * limit for limit in LIMITS[:-2:2]])
    assert 120_000 < LIMITS[-1] < 240_000


@pytest.mark.parametrize(
    ("milliseconds", "bucket"), [(0, 0), (0.9, 0), (1, 1), (1.4, 1), (1.5, 2), (2, 3), (16, 9), (10**9, BUCKETS - 1)]
)
def test_a_limit_belongs_to_the_bucket_that_begins_with_it(milliseconds: float, bucket: int) -> None:
    assert bucket_of(milliseconds) == bucket


def test_without_requests_there_is_no_percentile() -> None:
    assert percentile([0] * BUCKETS, 0.5) is None


def test_requests_are_spread_evenly_over_their_bucket() -> None:
    counts = histogram(16, 17, 18, 19)
    assert percentile(counts, 0) == 16
    assert percentile(counts, 0.5) == pytest.approx((16 + LIMITS[9]) / 2)
    assert percentile(counts, 1) == pytest.approx(LIMITS[9])


def test_of_the_open_bucket_the_lower_limit_is_known() -> None:
    assert percentile(histogram(10**9), 0.5) == LIMITS[-1]


@given(st.lists(st.integers(1, 100_000), min_size=1), st.floats(0.01, 1))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(times: list[int], fraction: float) -> None:
    counts = histogram(*times)
    found = percentile(counts, fraction)
    assert found is not None
    # The first of the sorted times with at least this fraction of the times up to it.
    true = next(time for rank, time in enumerate(sorted(times), 1) if rank >= fraction * len(times))
    lower, upper = LIMITS[bucket_of(true) - 1], LIMITS[bucket_of(true)]
    assert lower <= found <= upper
