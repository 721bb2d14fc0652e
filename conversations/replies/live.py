"""The replies that this process is writing: their text so far, and who waits for them."""

from __future__ import annotations

import functools
import os
import secrets
import socket
import threading
import time

from ai.call_control import CallControl


class LiveReply:
    """One running attempt at a reply, shared by the thread that writes it and those that wait for it."""

    def __init__(self, *, owner_id: int, conversation_id: str, message_id: str, attempt: int, control: CallControl):
        self.owner_id = owner_id
        self.conversation_id = conversation_id
        self.message_id = message_id
        self.attempt = attempt
        self.control = control
        self.text = ""
        self.ended = False
        # Set when another process has taken the reply over: then nothing of this attempt may be written any more.
        self.lease_lost = False
        self._changed = threading.Condition()

    def append(self, text: str) -> None:
        with self._changed:
            self.text += text
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def lose_lease(self) -> None:
        self.lease_lost = True
        self.control.cancel()

    def wait_until_ended(self, *, timeout: float) -> bool:
        """False if it still runs after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self.ended:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True


_running: dict[str, LiveReply] = {}


def add_running(reply: LiveReply) -> None:
    _running[reply.message_id] = reply


def remove_running(reply: LiveReply) -> None:
    if _running.get(reply.message_id) is reply:
        del _running[reply.message_id]


def find_running(message_id: str) -> LiveReply | None:
    """The reply if this process is writing it."""
    return _running.get(message_id)


def all_running() -> list[LiveReply]:
    return list(_running.values())


@functools.cache
def _worker_id(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{secrets.token_hex(4)}"


def worker_id() -> str:
    """The name under which this process holds leases; another one after a fork, and after a restart."""
    return _worker_id(os.getpid())
