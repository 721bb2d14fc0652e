"""Makes prometheus_client's files survive a moment without memory.

A file that is full is mapped again with twice the size. prometheus_client notes the new size before it maps, so that
after one failed attempt it would write beyond the old mapping: every later series would raise IndexError, and the
requests that need one would be answered with 500 until the process ends.
"""

from __future__ import annotations

import functools
from typing import Any

from prometheus_client.mmap_dict import MmapedDict


def repair_growth() -> None:
    """Let a file whose growth failed try again for the next series."""
    add: Any = MmapedDict._init_value

    @functools.wraps(add)
    def add_or_stay(file: Any, key: str) -> None:
        try:
            add(file, key)
        finally:
            file._capacity = len(file._m)

    MmapedDict._init_value = add_or_stay  # type: ignore[method-assign]
