"""Leases: a running reply is its process's own as long as the process says so in time."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from conversations import transcript_repository as transcripts
from conversations.replies.live import all_running, worker_id

# Long enough to outlast a slow MongoDB, short enough for another process to take over within 30 seconds.
LEASE = timedelta(seconds=10)
HEARTBEAT_SECONDS = 2.5


def lease_end() -> datetime:
    return timezone.now() + LEASE


def renew_leases() -> None:
    """Renew the leases of all replies that this process writes; stop those that it lost or that a user stopped."""
    running = {reply.conversation_id: reply for reply in all_running() if not reply.ended}
    if not running:
        return
    held, to_stop = transcripts.renew_leases(
        {conversation_id: reply.owner_id for conversation_id, reply in running.items()},
        worker=worker_id(),
        lease_until=lease_end(),
    )
    for conversation_id, reply in running.items():
        if reply.ended:
            continue
        if conversation_id not in held:
            reply.lose_lease()
        elif conversation_id in to_stop:
            reply.control.cancel()
