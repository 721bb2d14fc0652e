"""The messages between a web process and the process that works for it: a JSON object, followed by files.

Never pickles: a hostile file that controls the process can send anything.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from typing import Any

MAX_HEAD_BYTES = 64 * 1024
_PIECE = 256 * 1024
# What a job gets at a time of a file that it reads in parts.
STREAM_BYTES = 256 * 1024


class BadMessage(Exception):
    """The other side ended too early, or violates the protocol."""


def send_message(sock: socket.socket, head: dict[str, Any], files: Sequence[bytes | memoryview]) -> None:
    """Send the whole message. Raises OSError, and TimeoutError by the socket's own timeout."""
    encoded = json.dumps({**head, "sizes": [len(file) for file in files]}).encode()
    sock.sendall(len(encoded).to_bytes(4, "big") + encoded)
    for file in files:
        sock.sendall(file)


def receive_message(
    sock: socket.socket, *, max_bytes: int, until: float | None = None
) -> tuple[dict[str, Any], list[bytes]]:
    """The object, and the files, which have `max_bytes` together at most.

    `until` is on the monotonic clock. Raises BadMessage, TimeoutError and OSError.
    """
    size = int.from_bytes(_receive(sock, 4, until), "big")
    if size > MAX_HEAD_BYTES:
        raise BadMessage
    try:
        head = json.loads(_receive(sock, size, until))
        sizes = head.pop("sizes")
        if not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) > max_bytes:
            raise BadMessage
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadMessage from error
    return head, [_receive(sock, size, until) for size in sizes]


def _receive(sock: socket.socket, size: int, until: float | None) -> bytes:
    pieces = []
    while size:
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
        piece = sock.recv(min(size, _PIECE))
        if not piece:
            raise BadMessage
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
