"""The folder in which web processes keep their metrics, beside what others have left there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import mmap_dict

from edgechat.metrics import catalog  # noqa: F401  (repairs prometheus_client)

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


class NoMemory:
    @staticmethod
    def mmap(*_: Any) -> Any:
        raise OSError(12, "Cannot allocate memory")


def test_prometheus_client_still_needs_the_repair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repair wraps a private method, because the library has no public place for it."""
    repaired: Any = getattr(mmap_dict.MmapedDict, "_init_value", None)
    own: Any = getattr(repaired, "__wrapped__", None)
    assert own is not None, "prometheus_client adds a series in another way: look at edgechat.metrics.growing_files"
    file: Any = mmap_dict.MmapedDict(str(tmp_path / "counter_1.db"))  # type: ignore[no-untyped-call]
    with monkeypatch.context() as starved:
        starved.setattr(mmap_dict, "mmap", NoMemory)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            own(file, "x" * mmap_dict._INITIAL_MMAP_SIZE)
    assert file._capacity > len(file._m), "prometheus_client has mended this: delete edgechat.metrics.growing_files"
    file.close()


def test_a_file_that_got_no_memory_to_grow_grows_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file: Any = mmap_dict.MmapedDict(str(tmp_path / "counter_1.db"))  # type: ignore[no-untyped-call]
    keys = [f"{number} " + "x" * 1000 for number in range(200)]
    refused = 0
    for number, key in enumerate(keys):
        with monkeypatch.context() as starved:
            starved.setattr(mmap_dict, "mmap", NoMemory)
            try:
                file.write_value(key, number, 0.0)
            except OSError:
                refused += 1
        file.write_value(key, number, 0.0)
    assert refused == 2  # 64 to 128 to 256 KiB
    assert len(file._m) == 4 * mmap_dict._INITIAL_MMAP_SIZE
    found = {key: value for key, value, *_ in file.read_all_values()}
    file.close()
    assert found == {key: number for number, key in enumerate(keys)}
