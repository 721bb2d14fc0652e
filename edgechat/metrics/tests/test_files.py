"""The folder in which web processes keep their metrics, beside what others have left there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[3]
PROGRAM = """
import sys
from pathlib import Path
from edgechat.metrics import files
files._PARENT = Path(sys.argv[1])
files.create_folder()
print(files.folder().name)
"""


def test_folders_of_runs_that_ended_are_deleted_and_a_pipe_in_one_stops_no_start(tmp_path: Path) -> None:
    for name, make in (("ended", Path.touch), ("hostile", os.mkfifo)):
        folder = tmp_path / f"edgechat-metrics-{name}"
        folder.mkdir()
        make(folder / "owner")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert os.listdir(tmp_path) == [done.stdout.strip()]
