"""The tables of docs/metrics.md, made from the declarations in edgechat/metrics/catalog.py.

`python -m edgechat.local.metrics_page` replaces the text between the page's two markers. A test fails if the page is
not up to date.
"""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from edgechat.metrics import catalog

PROJECT = Path(__file__).parents[2]
PAGE, SOURCE = PROJECT / "docs" / "metrics.md", PROJECT / "edgechat" / "metrics" / "catalog.py"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"


def metrics_tables() -> str:
    """A heading and a table for each part of the catalog."""
    parts: list[str] = []
    for title, text in re.findall(r"^# --- (.*?) -+\n(.*?)(?=^# ---|\Z)", SOURCE.read_text(), re.MULTILINE | re.DOTALL):
        rows = [_row(name) for name in re.findall(r"^(\w+) = (?:Counter|Gauge|Histogram)\(", text, re.MULTILINE)]
        parts.append(f"## {title}\n\n| metric | kind | labels | |\n|---|---|---|---|\n" + "".join(rows))
    return "\n".join(parts)


def exported_name(metric: MetricWrapperBase) -> str:
    """The name under which Prometheus knows a metric; a histogram's has `_bucket`, `_sum` or `_count` behind it."""
    return f"{metric._name}_total" if metric._type == "counter" else metric._name


def _row(name: str) -> str:
    metric = getattr(catalog, name)
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{exported_name(metric)}` | {metric._type} | {labels} | {metric._documentation} |\n"


def main() -> None:
    page = PAGE.read_text()
    head, tail = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n{metrics_tables()}\n{END}{tail}")


if __name__ == "__main__":
    main()
