"""From the rounds of a run to its figures: medians, spread, cost and floor of each row, as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.scenarios import Measured, Scenario

Floors = dict[str, dict[str, float]]  # by kind of call, in ms
Rounds = dict[tuple[str, str], list[tuple[Scenario, Measured]]]  # by row and site


def summarize(facts: Mapping[str, Any], rounds: Rounds, floors: Sequence[Floors]) -> dict[str, Any]:
    """`{**facts, "floors": {kind: {name: median}}, "rows": {row: {title, unit, target, details, head, base}}}`."""
    medians = {
        kind: {name: statistics.median(each[kind][name] for each in floors) for name in floors[0][kind]}
        for kind in floors[0]
    }
    rows: dict[str, Any] = {}
    for (row, site), measured in rounds.items():
        scenario = measured[0][0]
        target = scenario.target
        entry = rows.setdefault(
            row,
            {
                "title": scenario.title,
                "unit": scenario.unit,
                "target": None if target is None else str(target),
                "details": scenario.details(),
            },
        )
        entry[site] = _site_figures(scenario, [one for _, one in measured], medians)
    return {**facts, "floors": medians, "rows": rows}


def _site_figures(scenario: Scenario, measured: Sequence[Measured], floors: Floors) -> dict[str, Any]:
    values = [one.value for one in measured]
    median = statistics.median(values)
    loads = [one.load for one in measured if one.load is not None]
    figures: dict[str, Any] = {
        "median": median,
        "lowest": min(values),
        "highest": max(values),
        "values": values,
        "met": None if scenario.target is None else scenario.target.holds(median),
        "floor": _median(one.floor for one in measured),
        "more": _medians([one.more for one in measured]),
    }
    if loads:
        figures |= {
            "p50_ms": statistics.median(load.result.p50 for load in loads),
            "p99_ms": statistics.median(load.result.p99 for load in loads),
            "errors": sum(load.result.errors for load in loads),
            "each": _medians([load.for_each() for load in loads]),
            "peak_mib": max(load.holding.memory for load in loads),
            "peak_postgres": max(load.holding.postgres for load in loads),
            "peak_redis": max(load.holding.redis for load in loads),
        }
    if scenario.floor is not None:
        parts = {"bare": 1.0, **scenario.floor}
        for name in ("cpu_ms", "wall_ms"):
            figures[f"floor_{name}"] = sum(count * floors[kind][name] for kind, count in parts.items())
        figures["floor_parts"] = parts
    return figures


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
