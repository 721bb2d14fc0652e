"""What counting and limiting take of one request: `python -m bench.request_overhead` prints it as JSON.

Calls what the middleware calls, in a process that is patched as a web process is, against the Redis of REDIS_URL.
"""

# ruff: noqa: E402
from __future__ import annotations

import gevent.monkey

gevent.monkey.patch_all()

import json
import os
import statistics
import time
from unittest import mock

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "edgechat.settings")
django.setup()

from django.utils import timezone

from edgechat.rate_limit import count_request
from edgechat.redis import GuardedConnection
from usage.request_stream import AnsweredRequest, RequestStream

REQUESTS = 4000
# A busy process's in a second, after which it asks once how many records have arrived.
SETTLE_EVERY = 500


def main() -> None:
    stream = RequestStream()
    for number in range(100):  # connects, loads the scripts
        _one_request(stream, number)
    read = mock.patch.object(
        GuardedConnection, "read_response", autospec=True, side_effect=GuardedConnection.read_response
    )
    with read as reading:
        for number in range(100):
            _one_request(stream, number)
        round_trips = reading.call_count / 100
    batches = []
    for _ in range(REQUESTS // SETTLE_EVERY):
        began = time.process_time_ns()
        for number in range(SETTLE_EVERY):
            _one_request(stream, number)
        stream.forget(stream.settle())
        batches.append((time.process_time_ns() - began) / SETTLE_EVERY / 1e6)
    print(json.dumps({"cpu_milliseconds": statistics.median(batches), "round_trips": round_trips}))


def _one_request(stream: RequestStream, number: int) -> None:
    count_request(f"10.1.{number // 250}.{number % 250}")
    stream.add(
        AnsweredRequest(
            user_id=0,  # nobody's: the collector drops it
            at=timezone.now(),
            method="GET",
            route="api/v1/chat/conversations/<str:conversation_id>/messages",
            status=200,
            milliseconds=12,
        )
    )


if __name__ == "__main__":
    main()
