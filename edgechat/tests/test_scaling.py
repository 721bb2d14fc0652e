"""`python -m bench.scaling` calculates the tables of docs/scaling.md, and takes others' figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def scaling(*options: str) -> str:
    command = [sys.executable, "-m", "bench.scaling", *options]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout


def needed(tables: str, what: str) -> float:
    [row] = [line for line in tables.splitlines() if line.startswith(f"| {what}")]
    return float(row.split("|")[2].replace(",", ""))


def test_the_page_has_the_tables_of_a_million_users() -> None:
    page = (PROJECT / "docs/scaling.md").read_text()
    assert page.partition("<!-- scaling: begin -->\n")[2].partition("<!-- scaling: end -->")[0] == scaling(
        "--users", "1000000"
    )


def test_others_can_enter_their_own_figures() -> None:
    usual = scaling()
    fewer = scaling("--pool_size", "4", "--input_price", "0", "--output_price", "0")
    name = "connections to PostgreSQL without a pooler"
    assert needed(fewer, name) < needed(usual, name) / 2
    assert needed(fewer, "cost of the model") == 0
    assert needed(scaling("--users", "100000"), "messages") * 10 == needed(usual, "messages")
