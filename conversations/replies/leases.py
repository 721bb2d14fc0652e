"""The leases of this process's replies: they last as long as its row in PostgreSQL is alive (`usage.processes`)."""

from __future__ import annotations

from conversations import transcript_repository as transcripts
from conversations.replies.live import all_running
from usage import processes


def drop_lost_and_stopped() -> None:
    """Stop writing replies whose lease this process has lost, and replies for which a user requested a stop."""
    if not (running := all_running()):
        return
    worker = processes.this_process()
    stopped = transcripts.find_stop_requests(worker=worker)
    for reply in running:
        if reply.worker != worker:
            reply.lose_lease()
        elif (reply.message_id, reply.attempt) in stopped:
            reply.control.cancel()
