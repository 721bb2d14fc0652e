"""Looks at sockets without a pass through gevent's loop."""

from __future__ import annotations

import select
import socket

import gevent.monkey

# gevent's own poll passes through its event loop, and lets other threads run, even with a timeout of 0.
_poll = gevent.monkey.get_original("select", "poll")


def is_readable(sock: socket.socket) -> bool:
    """Whether the socket has bytes to read, or its other side has closed it."""
    poll = _poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
