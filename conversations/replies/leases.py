"""Leases: a running reply is its process's own as long as the process says so in time."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from conversations import transcript_repository as transcripts
from conversations.replies.live import all_running, worker_id

# Long enough to outlast a slow MongoDB, short enough for another process to take over within 30 seconds.
LEASE = timedelta(seconds=12)
HEARTBEAT_SECONDS = 2.5
# A lease with less than this left is renewed, so most replies end without one; it leaves two heartbeats to miss.
RENEWED_BELOW = timedelta(seconds=8)


def lease_end() -> datetime:
    return timezone.now() + LEASE


def renew_leases() -> None:
    """Renew the leases of all replies that this process writes; stop those that it lost or that a user stopped."""
    running = {reply.conversation_id: reply for reply in all_running() if not reply.ended}
    if not running:
        return
    lease_until = lease_end()
    due = [reply for reply in running.values() if reply.lease_until < lease_until - LEASE + RENEWED_BELOW]
    held = transcripts.renew_leases(
        [reply.conversation_id for reply in due], worker=worker_id(), lease_until=lease_until
    )
    for reply in due:
        if reply.conversation_id in held:
            reply.lease_until = lease_until
        elif not reply.ended:
            reply.lose_lease()
    for conversation_id in transcripts.find_stop_requests(worker=worker_id()) & running.keys():
        running[conversation_id].control.cancel()
