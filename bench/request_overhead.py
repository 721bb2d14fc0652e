"""The cost of counting and limiting one request: `python -m bench.request_overhead` prints it as JSON.

It calls the middleware's functions against the Redis of REDIS_URL, in a process that is patched like a web process.
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

from edgechat.http.rate_limit import count_request
from edgechat.stores.redis import GuardedConnection
from usage.requests.request_stream import AnsweredRequest
from usage.requests.services import record_request

REQUESTS = 4000
BATCH = 500


def main() -> None:
    for number in range(100):  # connects, loads the script
        _one_request(number)
    read = mock.patch.object(
        GuardedConnection, "read_response", autospec=True, side_effect=GuardedConnection.read_response
    )
    with read as reading:
        for number in range(100):
            _one_request(number)
        round_trips = reading.call_count / 100
    batches = []
    for _ in range(REQUESTS // BATCH):
        began = time.process_time_ns()
        for number in range(BATCH):
            _one_request(number)
        batches.append((time.process_time_ns() - began) / BATCH / 1e6)
    print(json.dumps({"cpu_milliseconds": statistics.median(batches), "round_trips": round_trips}))


def _one_request(number: int) -> None:
    count_request(f"10.1.{number // 250}.{number % 250}")
    record_request(
        AnsweredRequest(
            user_id=0,  # belongs to no user: the collector drops it
            at=timezone.now(),
            method="GET",
            route="api/v1/chat/conversations/<str:conversation_id>/messages",
            status=200,
            milliseconds=12,
        )
    )


if __name__ == "__main__":
    main()
