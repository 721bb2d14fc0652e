"""The alert rules and the dashboard in deploy/: their metrics, labels and links exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from edgechat.local.metrics_page import exported_name
from edgechat.metrics import catalog

PROJECT = Path(__file__).parents[3]
RULES = yaml.safe_load((PROJECT / "deploy/prometheus/alerts.yml").read_text())
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((PROJECT / "deploy/grafana/edgechat.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# What Prometheus adds to each series.
OF_TARGETS = {"job", "instance"}
# An alert about any store leads to the row of the store that it names.
OF_STORE = "{{ $labels.store }}"


def exported() -> dict[str, set[str]]:
    """Each series of `/metrics` by its name, with its labels."""
    found: dict[str, set[str]] = {"up": set()}
    for metric in vars(catalog).values():
        if hasattr(metric, "_documentation"):
            name, labels = exported_name(metric), set(metric._labelnames)
            if metric._type == "histogram":
                found |= {f"{name}_bucket": {*labels, "le"}, f"{name}_sum": labels, f"{name}_count": labels}
            else:
                found[name] = labels
    return found


def expressions() -> list[tuple[str, str]]:
    """(where, expression) of each alert and each query of the dashboard, with values for Grafana's variables."""
    found = [(alert["alert"], alert["expr"]) for alert in ALERTS]
    found += [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
    return [(where, text.replace("$__rate_interval", "1m").replace("$instance", ".*")) for where, text in found]


@pytest.mark.parametrize(("where", "text"), expressions())
def test_an_expression_names_metrics_and_labels_that_exist(where: str, text: str) -> None:
    names: set[str] = set()
    used: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            names.add(node.name or "")
            used.update(matcher.name for matcher in node.matchers.matchers)
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            used.update(node.modifier.labels)
        return True

    promql_parser.walk(promql_parser.parse(text), visit)
    assert names
    known = exported()
    assert names <= known.keys()
    assert used - OF_TARGETS <= set().union(*(known[name] for name in names))


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(text for _, text in expressions())
    metrics = [exported_name(each) for each in vars(catalog).values() if hasattr(each, "_documentation")]
    assert [name for name in metrics if not re.search(rf"\b{name}(_bucket|_count|_sum)?\b", shown)] == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_what_is_wrong_and_names_the_row_of_its_fault(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("page", "ticket")
    notes = alert["annotations"]
    assert len(notes["summary"]) > 15
    assert notes["description"].endswith(".")
    path, _, anchor = notes["runbook_url"].partition("#")
    page = (PROJECT / path).read_text()
    for store in ("postgresql", "mongo", "redis") if OF_STORE in anchor else ("",):
        name = anchor.replace(OF_STORE, store)
        [row] = re.findall(rf'^\| .*<a id="{name}"></a>.*$', page, re.MULTILINE)
        assert re.search(rf"\b{alert['alert']}\b", row.split(" | ")[2]), name


def test_each_alert_is_in_the_tests_that_promtool_runs() -> None:
    tests = (PROJECT / "deploy/prometheus/alerts_test.yml").read_text()
    assert [alert["alert"] for alert in ALERTS if not re.search(rf"\b{alert['alert']}\b", tests)] == []


def test_alerts_have_names_of_their_own() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert len(set(names)) == len(names) > 10


def test_panels_do_not_cover_each_other() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert max(x for x, _ in cells) < 24
