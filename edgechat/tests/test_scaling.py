"""`python -m bench.scaling` calculates the tables of docs/scaling.md, and takes others' figures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.scaling import Assumptions

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
    assert needed(scaling("--sends", "0", "--reads", "0"), "cost of the model") == 0


def test_what_is_full_first_is_the_same_for_a_small_site() -> None:
    full = "| what is full first"
    assert scaling("--users", "7").partition(full)[2] == scaling().partition(full)[2]


@pytest.mark.parametrize("option", ["--users=0", "--users=-5", "--busy=0", "--disk_bytes=-1", "--peak=nan"])
def test_a_figure_that_makes_no_sense_is_refused(option: str) -> None:
    command = [sys.executable, "-m", "bench.scaling", option]
    refused = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert f"{option.partition('=')[0]} must be" in refused.stderr


def test_the_times_are_those_of_the_performance_page() -> None:
    """Within a third, because two runs on one machine differ."""
    page = (PROJECT / "docs/performance.md").read_text()
    table = page.partition("| row | web CPU ms |")[2].partition("\n\n")[0]
    rows = {cells[0]: [float(cell or "nan") for cell in cells[1:5]] for cells in map(cells_of, table.splitlines()[2:])}
    send, page_row, login, streams = (rows[name] for name in ("send-by-32", "page", "login", "streams-1000"))
    given = Assumptions()
    used = [given.web_send, given.postgresql_send, given.mongodb_send, given.redis_send]
    used += [given.web_read, given.postgresql_read, given.mongodb_read, given.redis_read, given.web_login]
    assert used == pytest.approx([*send, *page_row, login[0]], rel=0.33)
    [microseconds] = re.findall(r"each chunk is a delta of its own: (\d+) µs", page)
    assert given.web_delta == pytest.approx(int(microseconds) / 1000, rel=0.33)
    # 20 chunks for each of these streams; a small difference of two large figures.
    assert 0 < given.redis_delta < 2 * streams[3] / 20


def cells_of(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]
