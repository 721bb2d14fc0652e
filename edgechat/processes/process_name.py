"""What this process is called where processes tell each other apart."""

from __future__ import annotations

import functools
import os
import secrets
import socket


@functools.cache
def _process_name(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{secrets.token_hex(4)}"


def process_name() -> str:
    """A name that no other process has; another one after a fork, and after a restart."""
    return _process_name(os.getpid())
