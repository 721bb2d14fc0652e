"""Leases: what a process writes is its own as long as the process says so in time.

One lease covers all replies of a process, so keeping a thousand of them costs as much as keeping one. A process that
was declared dead comes back under another name, and can't mistake what it has lost for its own.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.utils import timezone

from conversations import transcript_repository as transcripts
from conversations.replies.live import all_running
from edgechat.process_name import process_name

logger = structlog.get_logger(__name__)

# Long enough to outlast a slow MongoDB and three missed heartbeats; short enough for a reply whose process was killed
# to be begun again and ended within 30 seconds.
LEASE = timedelta(seconds=8)
HEARTBEAT_SECONDS = 2.0


@dataclass
class _Lease:
    worker: str
    until: datetime
    # Since when it has not run out: as long as MongoDB has been there for us.
    held_since: datetime
    stops_seen: int = 0


_lock = threading.Lock()
_lease: _Lease | None = None
_leases_taken = 0


def held_worker() -> str:
    """The name under which this process claims replies now. Raises MongoUnavailable."""
    if (lease := _lease) is not None and _is_fresh(lease):
        return lease.worker
    with _lock:
        return _lease.worker if _lease is not None and _is_fresh(_lease) else _renew().worker


def keep_lease() -> None:
    """Renew this process's lease, and stop those of its replies that it lost, or that a user wants stopped."""
    with _lock:
        _renew()


def has_seen_a_whole_lease() -> bool:
    """Whether MongoDB has answered for as long as a lease lasts: if not, other leases may have run out because of it,
    and their processes live.
    """
    lease, now = _lease, timezone.now()
    return lease is not None and lease.until > now and now - lease.held_since >= LEASE


def give_up_lease() -> None:
    """Let other processes have this one's replies at once."""
    with _lock:
        if _lease is not None:
            transcripts.end_worker(_lease.worker)


def _is_fresh(lease: _Lease) -> bool:
    return lease.until - timezone.now() >= LEASE / 2


def _renew() -> _Lease:
    global _lease, _leases_taken
    now = timezone.now()
    worker = None if _lease is None else transcripts.renew_worker(_lease.worker, lease_until=now + LEASE)
    if _lease is None or worker is None:
        if _lease is not None:
            logger.warning("lease_lost", worker=_lease.worker)
            for reply in all_running():
                reply.lose_lease()
        _leases_taken += 1
        name = f"{process_name()}:{_leases_taken}"
        transcripts.register_worker(name, lease_until=now + LEASE)
        _lease = _Lease(name, now + LEASE, held_since=now)
        return _lease
    if _lease.until < now:
        _lease.held_since = now
    _lease.until = now + LEASE
    if worker["stops"] != _lease.stops_seen:
        asked = transcripts.find_stop_requests(worker=_lease.worker)
        running = {(reply.message_id, reply.attempt): reply for reply in all_running()}
        for each in asked & running.keys():
            running[each].control.cancel()
        # One that is claimed, and that no thread writes yet, is looked for again.
        if asked <= running.keys():
            _lease.stops_seen = worker["stops"]
    return _lease
