"""Leases: a running reply is its process's own as long as the process says so in time."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from conversations import transcript_repository as transcripts
from conversations.replies.live import all_running, worker_id

# Long enough to outlast a slow MongoDB, short enough for another process to take over within 30 seconds.
LEASE = timedelta(seconds=15)
HEARTBEAT_SECONDS = 4.0


def lease_end() -> datetime:
    return timezone.now() + LEASE


def renew_leases() -> None:
    """Renew the leases of all replies that this process writes; stop those that it no longer holds."""
    running = {reply.conversation_id: reply for reply in all_running() if not reply.ended}
    if not running:
        return
    lost = transcripts.renew_leases(
        {conversation_id: reply.owner_id for conversation_id, reply in running.items()},
        worker=worker_id(),
        lease_until=lease_end(),
    )
    for conversation_id in lost:
        if not running[conversation_id].ended:
            running[conversation_id].lose_lease()
