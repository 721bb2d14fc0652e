"""Compares the ledger with the scripted model's record of its calls, and with the counters of the budgets."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bench.site import Site

# A killed process is declared dead after half a minute, and then its calls are settled.
_SETTLE_SECONDS = 120.0
# The model's record keeps no more calls than this.
_MOST_CALLS = 20_000
# What `bench.soak_client` marks each message and prompt with.
_MARK = re.compile(r"\b[0-9a-f]{32}\b")
_ROWS = """
    SELECT attempt_id, purpose, request_id, settled_at IS NOT NULL, estimated FROM usage_ledgerentry
"""
_WRONG_SUMS = """
    SELECT count(*) FROM usage_spending
    WHERE reserved_tokens <> 0 OR month_tokens <> (
        SELECT coalesce(sum(input_tokens + output_tokens), 0) FROM usage_ledgerentry
        WHERE usage_ledgerentry.user_id = usage_spending.user_id
    )
"""


@dataclass
class LedgerFindings:
    """`begun`: rows of calls that a killed process had opened, and that the model did not get.

    Nobody can know that, so they are charged by estimate.
    """

    calls: int = 0
    rows: int = 0
    uncharged: int = 0
    charged_twice: int = 0
    begun: int = 0
    unsettled: int = 0
    wrong_sums: int = 0

    def sentence(self) -> str:
        return (
            f"Calls that the model got: {self.calls}. Rows of the ledger: {self.rows}."
            f" Calls without a row: {self.uncharged}. Charged twice: {self.charged_twice}."
            f" Never settled: {self.unsettled}. Rows of calls that a killed process had only begun: {self.begun}."
            f" Users whose budget differs from the sum of their rows: {self.wrong_sums}."
        )


def compare_ledger(site: Site, marks: Mapping[str, str]) -> LedgerFindings:
    """`marks` has the mark in the user's message of each model message's id."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    rows = site.sql(_ROWS)
    while not all(settled for *_, settled, _ in rows) and time.monotonic() < deadline:
        time.sleep(1)
        rows = site.sql(_ROWS)
    calls = Counter(mark for call in site.model_calls("") for mark in _MARK.findall(call["text"])[:1])
    found = LedgerFindings(calls.total(), len(rows), unsettled=sum(not settled for *_, settled, _ in rows))
    [(found.wrong_sums,)] = site.sql(_WRONG_SUMS)
    if calls.total() >= _MOST_CALLS:
        return found  # the first calls are no longer in the record
    charged, estimated = Counter[str](), Counter[str]()
    for attempt_id, purpose, request_id, _, is_estimated in rows:
        mark = marks.get(attempt_id.rpartition(":")[0].rpartition(":")[0], "?") if purpose == "chat" else request_id
        charged[mark] += 1
        estimated[mark] += is_estimated
    for mark in charged | calls:
        extra = charged[mark] - calls[mark]
        begun = min(max(0, extra), estimated[mark])
        found.uncharged += max(0, -extra)
        found.begun += begun
        found.charged_twice += max(0, extra) - begun
    return found
