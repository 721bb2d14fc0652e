"""Counts what each client address uses in this process: connections, requests, bytes of bodies."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Sums by key, and in total. Greenlets share it without a lock, because nothing here waits."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()
        self.total = 0

    def of(self, key: str) -> int:
        return self._sums[key]

    def add(self, key: str, amount: int) -> None:
        self._sums[key] += amount
        self.total += amount
        if not self._sums[key]:
            del self._sums[key]
