"""Folders for these tests' own servers."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty folder. If root runs the tests, PostgreSQL's user cannot enter the parents of pytest's `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="edgechat-local-"))
    yield folder
    shutil.rmtree(folder)
