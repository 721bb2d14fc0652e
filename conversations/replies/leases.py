"""What this process writes is its own as long as it lives in PostgreSQL (`usage.processes`), and nobody stops it."""

from __future__ import annotations

from conversations import transcript_repository as transcripts
from conversations.replies.live import all_running
from usage import processes


def drop_lost_and_stopped() -> None:
    """Stop writing the replies that this process has lost, and those that users want stopped."""
    if not (running := all_running()):
        return
    worker = processes.this_process()
    stopped = transcripts.find_stop_requests(worker=worker)
    for reply in running:
        if reply.worker != worker:
            reply.lose_lease()
        elif (reply.message_id, reply.attempt) in stopped:
            reply.control.cancel()
