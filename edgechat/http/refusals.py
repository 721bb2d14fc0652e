"""Requests that were refused before their user was checked, summed up in this process until `usage` stores the sums.

A refused request must cost little, because floods are refused: it costs one addition here and no store. A killed
process loses the sums of the last seconds.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from django.utils import timezone

# Beyond this number of different refusals, only their hours, statuses and reasons are counted, which are few.
MAX_KINDS = 10_000


class Refusal(NamedTuple):
    """`hour`: whole hours since 1970, UTC. `reason`: as in RequestState.error. `route` and `user_id`: if known."""

    hour: int
    status: int
    reason: str
    route: str = ""
    user_id: int | None = None


_counted: Counter[Refusal] = Counter()


def count_refusal(status: int, reason: str, *, route: str = "", user_id: int | None = None) -> None:
    _add(Refusal(int(timezone.now().timestamp()) // 3600, status, reason, route, user_id), 1)


def take_refusals() -> dict[Refusal, int]:
    """What was counted since the last call. Give back with `restore_refusals` what could not be stored."""
    global _counted
    taken, _counted = _counted, Counter()
    return taken


def restore_refusals(refusals: dict[Refusal, int]) -> None:
    for refusal, number in refusals.items():
        _add(refusal, number)


def _add(refusal: Refusal, number: int) -> None:
    if refusal not in _counted and len(_counted) >= MAX_KINDS:
        refusal = Refusal(*refusal[:3])
    _counted[refusal] += number
