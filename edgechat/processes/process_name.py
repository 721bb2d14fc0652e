"""The name of this process, by which processes distinguish each other."""

from __future__ import annotations

import functools
import os
import secrets
import socket


@functools.cache
def _process_name(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{secrets.token_hex(4)}"


def process_name() -> str:
    """A name that no other process has. It changes with a fork and with a restart."""
    return _process_name(os.getpid())
