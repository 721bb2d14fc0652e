"""The log: a line that cannot be written does no harm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import structlog
from edgechat.logs import configure_logging
configure_logging(level="INFO", as_json=True)
structlog.get_logger("edgechat").info("request", path="\\udc80")
print("answered")
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
@pytest.mark.parametrize("log", ["/dev/full", "/dev/null"])
def test_a_log_that_cannot_be_written_fails_nothing(log: str) -> None:
    with open(log, "w") as file:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=file,
            check=False,
        )
    assert done.stdout == b"answered\n"
