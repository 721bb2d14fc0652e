"""The table of medians."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from bench.scenarios import Measured, Scenario, Target
from bench.site import Load
from bench.watch import Holding

MEMORY_TARGET = Target(400, at_least=False)  # MiB, all web processes together
_HEADINGS = (
    "scenario",
    "what",
    "median",
    "unit",
    "lowest",
    "highest",
    "p50 ms",
    "p99 ms",
    "CPU ms",
    "errors",
    "MiB",
    "PG",
    "Redis",
)


def format_table(scenarios: Sequence[Scenario], measured: Mapping[str, Sequence[Measured]]) -> str:
    """A row for each scenario: the median of its rounds, and the peaks of memory and connections in all of them.

    `CPU ms` is the workers' CPU time for each answer: other programs on the machine affect it less than the other
    figures.
    """
    rows: list[tuple[str, ...]] = [(*_HEADINGS, "target")]
    rows += [_row(scenario, measured[scenario.name]) for scenario in scenarios]
    peak = _peak(one.load for rounds in measured.values() for one in rounds if one.load is not None)
    if peak.memory:
        held = ("", "peak of all", *[""] * 8, f"{peak.memory:.0f}", str(peak.postgres), str(peak.redis))
        rows.append((*held, _verdict(MEMORY_TARGET, peak.memory)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numeric = {2, *range(4, 13)}
    lines = [
        "  ".join(
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _row(scenario: Scenario, rounds: Sequence[Measured]) -> tuple[str, ...]:
    values = [one.value for one in rounds]
    median = statistics.median(values)
    loads = [one.load for one in rounds if one.load is not None]
    results = [load.result for load in loads]
    peak = _peak(loads)
    return (
        scenario.name,
        scenario.title,
        _number(median),
        scenario.unit,
        _number(min(values)),
        _number(max(values)),
        f"{statistics.median(result.p50 for result in results):.1f}" if loads else "",
        f"{statistics.median(result.p99 for result in results):.1f}" if loads else "",
        f"{statistics.median(load.cpu_milliseconds for load in loads):.2f}" if loads else "",
        str(sum(result.errors for result in results)) if loads else "",
        f"{peak.memory:.0f}" if peak.memory else "",
        str(peak.postgres) if peak.memory else "",
        str(peak.redis) if peak.memory else "",
        _verdict(scenario.target, median) if scenario.target is not None else "",
    )


def _peak(loads: Iterable[Load]) -> Holding:
    peak = Holding()
    for load in loads:
        peak = peak.peak(load.holding)
    return peak


def _verdict(target: Target, value: float) -> str:
    return f"{target} {'met' if target.holds(value) else 'MISSED'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
