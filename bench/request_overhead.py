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
from typing import Any
from unittest import mock

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "edgechat.settings")
django.setup()

from django.utils import timezone

from edgechat.rate_limit import count_request
from edgechat.redis import GuardedConnection, redis_client
from usage.request_stream import MAX_WAITING_IN_REDIS, STREAM, AnsweredRequest, RequestStream

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
    sent, acknowledged = [], []
    for _ in range(REQUESTS // SETTLE_EVERY):
        began = time.process_time_ns()
        for number in range(SETTLE_EVERY):
            _one_request(stream, number)
        stream.forget(stream.settle())
        ended = time.process_time_ns()
        for number in range(SETTLE_EVERY):
            _one_acknowledged_request(number)
        sent.append((ended - began) / SETTLE_EVERY / 1e6)
        acknowledged.append((time.process_time_ns() - ended) / SETTLE_EVERY / 1e6)
    figures = {
        "cpu_milliseconds": statistics.median(sent),
        "acknowledged_cpu_milliseconds": statistics.median(acknowledged),
        "round_trips": round_trips,
    }
    print(json.dumps(figures))


def _one_request(stream: RequestStream, number: int) -> None:
    count_request(f"10.1.{number // 250}.{number % 250}")
    stream.add(_record())


def _one_acknowledged_request(number: int) -> None:
    """The least that would take the place of `RequestStream`: an entry that Redis confirms."""
    count_request(f"10.1.{number // 250}.{number % 250}")
    redis: Any = redis_client()  # has no types for this
    redis.execute_command("XADD", STREAM, "MAXLEN", "~", MAX_WAITING_IN_REDIS, "*", *_record().as_arguments())


def _record() -> AnsweredRequest:
    return AnsweredRequest(
        user_id=0,  # nobody's: the collector drops it
        at=timezone.now(),
        method="GET",
        route="api/v1/chat/conversations/<str:conversation_id>/messages",
        status=200,
        milliseconds=12,
    )


if __name__ == "__main__":
    main()
