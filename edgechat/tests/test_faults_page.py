"""docs/faults.md: what each row names exists, so the page cannot drift from the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from edgechat.local.metrics_page import exported_name
from edgechat.metrics import catalog

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs/faults.md").read_text()
SOURCES = [
    path for app in ("edgechat", "accounts", "ai", "conversations", "usage") for path in (PROJECT / app).rglob("*.py")
]
RULES = yaml.safe_load((PROJECT / "deploy/prometheus/alerts.yml").read_text())

ALERTS = {rule["alert"] for group in RULES["groups"] for rule in group["rules"]}
METRICS = {exported_name(each) for each in vars(catalog).values() if hasattr(each, "_documentation")}
# The events of the log: the first argument of a logger's method.
EVENTS = {
    event
    for path in SOURCES
    for event in re.findall(r'log(?:ger)?\.(?:info|warning|error|exception)\(\s*"(\w+)"', path.read_text())
}


def rows() -> list[list[str]]:
    """The cells of each row: fault, what users see, what operators see, what to do, tests."""
    found = re.findall(r"^\| (<a id=.*) \|$", PAGE, re.MULTILINE)
    return [row.split(" | ") for row in found]


def name_of(row: list[str]) -> str:
    """The anchor of a row."""
    return str(re.findall(r'<a id="([\w-]+)">', row[0])[-1])


ROWS = pytest.mark.parametrize("row", rows(), ids=name_of)


def test_each_row_has_an_anchor_of_its_own() -> None:
    anchors = re.findall(r'<a id="([\w-]+)"', PAGE)
    assert len(set(anchors)) == len(anchors) >= len(rows()) > 30
    assert len(re.findall(r"^\| <a id", PAGE, re.MULTILINE)) == len(rows())


@ROWS
def test_a_row_says_everything(row: list[str]) -> None:
    assert len(row) == 5
    assert all(row)


@ROWS
def test_the_tests_of_a_row_exist(row: list[str]) -> None:
    named = re.findall(r"`([\w/.]+)::(\w+)(?:\[[\w-]+\])?`", row[4])
    assert named
    for path, function in named:
        tree = ast.parse((PROJECT / path).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@ROWS
def test_what_operators_see_exists(row: list[str]) -> None:
    for name in re.findall(r"`(\w+)`", row[2]):
        assert name in METRICS | EVENTS
    for alert in re.findall(r"\bEdgeChat[A-Z]\w+", row[2]):
        assert alert in ALERTS
