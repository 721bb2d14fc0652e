"""Folders for servers of these tests' own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty folder; not pytest's `tmp_path`: when root tests, PostgreSQL's user can't pass what is above it."""
    folder = Path(tempfile.mkdtemp(prefix="edgechat-local-"))
    yield folder
    shutil.rmtree(folder)
