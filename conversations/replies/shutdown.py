"""Shutdown of a process: running replies get time to end, then other processes take them over."""

from __future__ import annotations

import threading
import time

import structlog
from django.conf import settings
from django.db import OperationalError

from conversations import transcript_repository as transcripts
from conversations.replies.live import LiveReply, all_running
from edgechat.errors import ApiError, StoreUnavailable
from usage import processes

logger = structlog.get_logger(__name__)

_handed_over = threading.Event()


class ShuttingDown(ApiError):
    """The process that waits for the reply shuts down; the reply continues in another process."""

    status, code = 503, "shutting_down"
    sends = ("Retry-After",)
    detail = "The server restarts; the reply continues, please request it again"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


def is_shutting_down() -> bool:
    """Whether this process has handed its replies over and can no longer report their progress."""
    return _handed_over.is_set()


def drain_replies() -> None:
    """Give running replies GRACEFUL_TIMEOUT seconds to end, then hand the rest over."""
    deadline = time.monotonic() + settings.GRACEFUL_TIMEOUT
    pause = threading.Event()
    while all_running() and time.monotonic() < deadline:
        pause.wait(0.1)
    hand_over_replies()


def hand_over_replies() -> None:
    """Store each running reply's text, stop writing it, and leave it to another process, which starts it again."""
    _handed_over.set()
    for reply in all_running():
        _hand_over(reply)
    try:
        processes.leave()
    except OperationalError:
        logger.warning("lease_not_released")  # it expires by itself


def _hand_over(reply: LiveReply) -> None:
    try:
        transcripts.save_snapshot(reply.owner_id, reply.message_id, attempt=reply.attempt, content=reply.text)
    except StoreUnavailable:
        logger.warning("last_text_lost", message_id=reply.message_id)  # the reply is started again anyway
    reply.lose_lease()
