"""The figures of a run as Markdown tables and SVG pictures: `python -m bench.report FILE` updates docs/performance.md.

FILE is what `python -m bench --json FILE` wrote. The text between the two markers of the page is replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURES = DOCS / "performance.md", DOCS / "performance"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_COLOURS = ("#2563eb", "#94a3b8", "#16a34a", "#d97706")
_BAR, _GAP, _LEFT, _WIDTH = 14, 10, 170, 760


def format_report(figures: dict[str, Any]) -> str:
    """The tables of a run, in Markdown."""
    load = " and ".join(f"{figures[f'load_average_{when}'][0]:.1f}" for when in ("before", "after"))
    parts = [
        f"{figures['machine']}. {figures['servers']}. Commit {figures['head']}, {figures['workers']} workers,"
        f" {figures['rounds']} rounds of {figures['seconds']:g} s, numbers scaled by {figures['scale']:g}. Load average"
        f" before and after: {load}. No server waits for the disk.",
        _main_table(figures),
        _cost_table(figures),
        _more_table(figures),
        *(f"{name}: {row['details']}" for name, row in figures["rows"].items() if row["details"]),
        _floor_table(figures),
    ]
    if figures["base"]:
        parts.append(_comparison(figures))
    return "\n\n".join(part for part in parts if part) + "\n"


def _main_table(figures: dict[str, Any]) -> str:
    rows = []
    for name, row in figures["rows"].items():
        head = row["head"]
        verdict = "" if head["met"] is None else f"{row['target']} {'met' if head['met'] else 'missed'}"
        rows.append(
            [
                name,
                row["title"],
                _number(head["median"]),
                row["unit"],
                f"{_number(head['lowest'])} to {_number(head['highest'])}",
                _number(head.get("p50_ms")),
                _number(head.get("p99_ms")),
                _number(head["floor"]),
                str(head.get("errors", "")),
                verdict,
            ]
        )
    return _table(
        ("row", "what", "median", "unit", "spread", "p50 ms", "p99 ms", "floor", "errors", "target"), "llrlrrrrrl", rows
    )


def _cost_table(figures: dict[str, Any]) -> str:
    """What one answer costs. `x health` compares the web processes' CPU with that of `health`."""
    health = figures["rows"].get("health", {}).get("head", {}).get("each", {}).get("cpu.web")
    rows = []
    for name, row in figures["rows"].items():
        head = row["head"]
        if "each" not in head:
            continue
        each, floor = head["each"], head.get("floor_cpu_ms")
        rows.append(
            [
                name,
                *(_number(each[f"cpu.{part}"]) for part in ("web", "postgres", "mongo", "redis")),
                _number(floor),
                _number(each["cpu.web"] / floor if floor else None),
                _number(each["cpu.web"] / health if health else None),
                *(_number(each[f"commands.{part}"]) for part in ("postgres", "mongo", "redis", "redis_reads")),
                _number(head["peak_mib"]),
            ]
        )
    headings = ("row", "web CPU ms", "PostgreSQL CPU ms", "MongoDB CPU ms", "Redis CPU ms", "floor CPU ms", "x floor")
    more = ("x health", "PostgreSQL statements", "MongoDB commands", "Redis commands", "Redis reads", "peak MiB")
    return "For each answer:\n\n" + _table(headings + more, "l" + "r" * 12, rows) if rows else ""


def _more_table(figures: dict[str, Any]) -> str:
    rows = [
        [name, what, _number(value)]
        for name, row in figures["rows"].items()
        for what, value in row["head"]["more"].items()
    ]
    return _table(("row", "also", "median"), "llr", rows) if rows else ""


def _floor_table(figures: dict[str, Any]) -> str:
    rows = [[kind, _number(each["cpu_ms"]), _number(each["wall_ms"])] for kind, each in figures["floors"].items()]
    text = "Floors, for each call by the driver, the SDK, or a request to bare gunicorn:\n\n"
    return text + _table(("call", "CPU ms", "median ms"), "lrr", rows)


def _comparison(figures: dict[str, Any]) -> str:
    """Base and head of each row. A difference is `clear` if the two spreads do not overlap."""
    rows = []
    for name, row in figures["rows"].items():
        if "base" not in row:
            continue
        base, head = row["base"], row["head"]
        clear = base["highest"] < head["lowest"] or head["highest"] < base["lowest"]
        cpu = [site.get("each", {}).get("cpu.web") for site in (base, head)]
        rows.append(
            [
                name,
                row["unit"],
                *(
                    f"{_number(site['median'])} ({_number(site['lowest'])} to {_number(site['highest'])})"
                    for site in (base, head)
                ),
                f"{head['median'] / base['median']:.2f}" if base["median"] else "",
                *map(_number, cpu),
                f"{cpu[1] / cpu[0]:.2f}" if cpu[0] and cpu[1] else "",
                "clear" if clear else "",
            ]
        )
    headings = ("row", "unit", f"base {figures['base']}", f"head {figures['head']}", "head / base")
    more = ("base CPU ms", "head CPU ms", "head / base", "difference")
    return "Compared with the base:\n\n" + _table(headings + more, "llrrrrrrl", rows)


def _table(headings: Sequence[str], alignment: str, rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---:" if side == "r" else "---" for side in alignment], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def bars(title: str, unit: str, series: Sequence[str], rows: Mapping[str, Sequence[float]]) -> str:
    """A picture of horizontal bars: for each row one bar of each series."""
    largest = max((value for values in rows.values() for value in values), default=0.0) or 1.0
    height_of_row = _BAR * len(series) + _GAP
    height = 50 + height_of_row * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif"'
        f' font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="18" font-size="14">{escape(title)} ({escape(unit)})</text>'
    ]
    for index, name in enumerate(series):
        x = _LEFT + 140 * index
        parts.append(f'<rect x="{x}" y="26" width="10" height="10" fill="{_COLOURS[index]}"/>')
        parts.append(f'<text x="{x + 14}" y="35">{escape(name)}</text>')
    for number, (name, values) in enumerate(rows.items()):
        top = 46 + number * height_of_row
        parts.append(f'<text x="8" y="{top + _BAR}">{escape(name)}</text>')
        for index, value in enumerate(values):
            y, width = top + index * _BAR, value / largest * (_WIDTH - _LEFT - 70)
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" fill="{_COLOURS[index]}"/>'
            )
            parts.append(f'<text x="{_LEFT + width + 4:.1f}" y="{y + _BAR - 4}">{_number(value)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def pictures(figures: dict[str, Any]) -> dict[str, str]:
    """The pictures of a run, by their file names."""
    heads = {name: row["head"] for name, row in figures["rows"].items() if "floor_cpu_ms" in row["head"]}
    cpu = {name: (head["each"]["cpu.web"], head["floor_cpu_ms"]) for name, head in heads.items()}
    stores = ("postgres", "mongo", "redis")
    commands = {name: tuple(head["each"][f"commands.{store}"] for store in stores) for name, head in heads.items()}
    bursts = {
        name: (row["head"]["median"], row["head"]["floor"])
        for name, row in figures["rows"].items()
        if row["head"]["floor"] is not None
    }
    drawn = (
        ("cpu.svg", "CPU of the web processes for each answer", "ms", ("EdgeChat", "floor"), cpu),
        (
            "commands.svg",
            "Commands to the stores for each answer",
            "number",
            ("PostgreSQL", "MongoDB", "Redis"),
            commands,
        ),
        ("bursts.svg", "Many simultaneous calls", "s", ("EdgeChat", "floor"), bursts),
    )
    return {name: bars(title, unit, series, rows) for name, title, unit, series, rows in drawn if rows}


def main(path: Path) -> None:
    """Update the page and its pictures."""
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    PICTURES.mkdir(exist_ok=True)
    for former in PICTURES.glob("*.svg"):
        former.unlink()
    drawn = pictures(figures)
    for name, picture in drawn.items():
        (PICTURES / name).write_text(picture, encoding="utf-8")
    shown = "\n\n".join(f"![{name.removesuffix('.svg')}](performance/{name})" for name in drawn)
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{format_report(figures)}\n{shown}\n\n{END}{after}", encoding="utf-8")
    print(f"{PAGE} has the figures of {path}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
