"""docs/architecture.md says what is there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from conversations import transcript_repository as transcripts

PROJECT = Path(__file__).parents[2]
ARCHITECTURE = (PROJECT / "docs" / "architecture.md").read_text()


def names_defined_in(path: str) -> set[str]:
    """The functions and classes at the top of a module."""
    nodes = ast.parse((PROJECT / path).read_text()).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_every_name_in_the_architecture_exists() -> None:
    told = re.findall(r"`([\w/]+\.py)`:\s+`(\w+)`", ARCHITECTURE)
    assert len(told) > 30
    assert [(path, name) for path, name in told if name not in names_defined_in(path)] == []
    assert set(re.findall(r"`([\w/]+\.py)`", ARCHITECTURE)) == {path for path, _ in told}
    packages = {*re.findall(r"`([\w/]+/)`", ARCHITECTURE), *re.findall(r'\["([\w/]+/):', ARCHITECTURE)}
    assert len(packages) > 10
    assert [package for package in packages if not (PROJECT / package).is_dir()] == []
    known = {name for path, _ in told for name in names_defined_in(path)}
    known |= {Path(path).stem for path, _ in told} | set(transcripts.__all__)
    [diagram] = re.findall(r"sequenceDiagram\n(.*?)```", ARCHITECTURE, re.DOTALL)
    named = set(re.findall(r"\w+_\w+|BudgetExceeded", diagram))
    assert named - known - {"transcript_repository", "BudgetExceeded"} == set()


def test_a_message_passes_few_modules_to_the_ledger_and_none_often() -> None:
    [way] = re.findall(r"### From the view to the ledger\n(.*?)###", ARCHITECTURE, re.DOTALL)
    passed = Counter(re.findall(r"^\d+\. `([\w/]+\.py)`", way, re.MULTILINE))
    assert len(passed) <= 15
    assert f"{len(passed)} modules" in way
    [back] = re.findall(r"### From the ledger to the answer\n(.*?)##", ARCHITECTURE, re.DOTALL)
    passed.update(re.findall(r"^\d+\. `([\w/]+\.py)`", back, re.MULTILINE))
    assert max(passed.values()) <= 2
