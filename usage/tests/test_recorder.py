"""Counting requests survives what happens to processes and to Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Sum

from conftest import Person
from edgechat.local.stack import start_valkey
from edgechat.local.valkey import Valkey
from edgechat.local.web import WebServer
from usage.models import HourlyUsage, RequestRecord


def written(person: Person) -> tuple[int, int]:
    """Requests in PostgreSQL: by the hour, and one by one."""
    hourly = HourlyUsage.objects.filter(user_id=person.id).aggregate(total=Sum("requests"))["total"]
    return hourly or 0, RequestRecord.objects.filter(user_id=person.id).count()


@pytest.mark.faults
def test_a_killed_worker_loses_no_request_that_it_answered(
    start_web: Callable[..., WebServer], register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    web = start_web(workers=1)
    alice = register("alice", web.url)
    for _ in range(30):
        assert alice.get("auth/me").status_code == 200
    killed = web.kill_worker()
    assert web.wait_for_workers(without=killed)
    with alice.signed_in(alice.tokens["access_token"]) as again:
        assert again.get("usage/me").json()["total_requests"] == 31
    eventually(lambda: written(alice) == (32, 32))


@pytest.fixture
def valkey(data_dir: Path) -> Iterator[Valkey]:
    server = start_valkey(data_dir, durable=False)
    yield server
    server.kill()


@pytest.mark.faults
def test_what_is_counted_without_redis_is_written_by_the_process_itself(
    start_web: Callable[..., WebServer],
    register: Callable[..., Person],
    valkey: Valkey,
    eventually: Callable[..., Any],
) -> None:
    web = start_web(REDIS_URL=valkey.url)
    alice = register("alice", web.url)
    # The position in the stream is this Redis' no longer: tests share one PostgreSQL, whose position is another's.
    valkey.kill()
    with alice.signed_in(alice.tokens["access_token"]) as again:
        before = written(alice)
        for _ in range(10):
            assert again.get("auth/me").status_code == 200
        eventually(lambda: written(alice) == (before[0] + 10, before[1] + 10))
        assert again.get("usage/me").json()["total_requests"] >= 10
