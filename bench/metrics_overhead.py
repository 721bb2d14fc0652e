"""The cost of the metrics of one request: `python -m bench.metrics_overhead` prints it as JSON.

It calls what the middleware calls for `GET /auth/me`, with files in memory as in a web process.
"""

# ruff: noqa: E402
from __future__ import annotations

import gevent.monkey

gevent.monkey.patch_all()

from edgechat.metrics import files

files.create_folder()

import json
import os
import statistics
import time
from types import SimpleNamespace
from typing import Any, cast

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "edgechat.settings")
django.setup()

from edgechat.http.request_metrics import measure_answer
from edgechat.http.request_state import RequestState
from edgechat.metrics import page

REQUESTS, BATCH = 40_000, 1000
STATUSES = (200, 400, 401, 404, 422, 429, 503)
ROUTES = 100


def main() -> None:
    # As many series as a process has that has answered everything.
    for route in range(ROUTES):
        for status in STATUSES:
            _one_request(f"api/v1/route-{route}", status)
    batches = []
    for _ in range(REQUESTS // BATCH):
        began = time.process_time_ns()
        for _ in range(BATCH):
            _one_request("api/v1/auth/me", 200)
        batches.append((time.process_time_ns() - began) / BATCH / 1e6)
    began = time.process_time_ns()
    size = len(page.render())
    scrape = (time.process_time_ns() - began) / 1e6
    files.delete_folder()
    print(json.dumps({"cpu_milliseconds": statistics.median(batches), "scrape_milliseconds": scrape, "bytes": size}))


def _one_request(route: str, status: int) -> None:
    request: Any = SimpleNamespace(method="GET", resolver_match=SimpleNamespace(route=route))
    request.edgechat = RequestState("id", "127.0.0.1")
    measure_answer(request, cast(Any, SimpleNamespace(status_code=status)))


if __name__ == "__main__":
    main()
