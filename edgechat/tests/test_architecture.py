"""Every name in docs/architecture.md and docs/glossary.md exists, and the architecture keeps its bounds."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from conversations import transcript_repository as transcripts

PROJECT = Path(__file__).parents[2]
ARCHITECTURE = (PROJECT / "docs" / "architecture.md").read_text()
GLOSSARY = (PROJECT / "docs" / "glossary.md").read_text()


def names_defined_in(path: str) -> set[str]:
    """The functions and classes at the top of a module."""
    nodes = ast.parse((PROJECT / path).read_text()).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def names_in(document: str) -> list[tuple[str, str]]:
    """Each (path, name) that a document gives as `path.py`: `name`."""
    return re.findall(r"`([\w/]+\.py)`:\s+`(\w+)`", document)


@pytest.mark.parametrize("document", [ARCHITECTURE, GLOSSARY], ids=["architecture", "glossary"])
def test_every_name_in_a_document_exists(document: str) -> None:
    named = names_in(document)
    assert len(named) > 25
    assert [(path, name) for path, name in named if name not in names_defined_in(path)] == []
    assert set(re.findall(r"`([\w/]+\.py)`", document)) == {path for path, _ in named}


def test_every_package_and_every_name_in_the_diagrams_of_the_architecture_exists() -> None:
    packages = {*re.findall(r"`([\w/]+/)`", ARCHITECTURE), *re.findall(r"^([\w/]+/)  ", ARCHITECTURE, re.MULTILINE)}
    assert len(packages) > 10
    assert [package for package in packages if not (PROJECT / package).is_dir()] == []
    named = names_in(ARCHITECTURE)
    known = {name for path, _ in named for name in names_defined_in(path)}
    known |= {Path(path).stem for path, _ in named} | set(vars(transcripts))
    [diagram] = re.findall(r"```text\nMessagesView(.*?)```", ARCHITECTURE, re.DOTALL)
    drawn = set(re.findall(r"\w+_\w+|BudgetExceeded", diagram))
    assert drawn - known - {"transcript_repository", "BudgetExceeded"} == set()


def test_a_message_passes_few_modules_and_none_often() -> None:
    [way] = re.findall(r"### From the view to the ledger\n(.*?)\n## ", ARCHITECTURE, re.DOTALL)
    passed = Counter(re.findall(r"^\d+\. `([\w/]+\.py)`", way, re.MULTILINE))
    assert len(passed) <= 15
    assert f"A message passes {len(passed)} modules" in ARCHITECTURE
    assert max(passed.values()) <= 2
