"""Requests are counted correctly although processes are killed and Redis fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
from django.db.models import Sum

from conftest import Api, Person, at_once
from edgechat.local.stack import start_valkey
from edgechat.local.valkey import Valkey
from edgechat.local.web import WebServer
from edgechat.stores.redis import redis_client
from edgechat.tests.own_stores import OwnStores
from edgechat.tests.web_settings import ELSEWHERE
from usage.models import HourlyUsage, RecorderPosition, RequestRecord
from usage.reports.latency import BUCKETS, bucket_of
from usage.requests.request_stream import STREAM

StartWeb = Callable[..., WebServer]
Eventually = Callable[[Callable[[], Any]], Any]
Register = Callable[..., Person]

REGISTERED = 1  # a Person starts with a request for auth/me
CLIENTS = 12


def written(person: Person) -> tuple[int, int]:
    """A person's requests in PostgreSQL: the hourly sum, and the number of records."""
    hourly = HourlyUsage.objects.filter(user_id=person.id).aggregate(total=Sum("requests"))["total"]
    return hourly or 0, RequestRecord.objects.filter(user_id=person.id).count()


def total(person: Api) -> int:
    answer = person.get("usage/me")
    assert answer.status_code == 200, answer.text
    number: int = answer.json()["total_requests"]
    return number


def kill_all_workers(web: WebServer) -> None:
    pids = web.pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        assert web.wait_for_workers(without=pid)


@pytest.mark.faults
def test_killed_processes_lose_no_request_that_they_answered(
    start_web: StartWeb, register: Register, eventually: Eventually
) -> None:
    web = start_web(workers=2)
    alice = register("alice", web.url)
    answered = REGISTERED

    def ask(number: int) -> int:
        with alice.signed_in(alice.tokens["access_token"]) as client:
            return sum(client.get("auth/me").status_code == 200 for _ in range(3))

    for _ in range(3):
        answered += sum(at_once(CLIENTS, ask))
        kill_all_workers(web)
        with alice.signed_in(alice.tokens["access_token"]) as client:
            assert total(client) == answered
        answered += 1
    eventually(lambda: written(alice) == (answered, answered))


@pytest.mark.faults
def test_a_kill_in_mid_burst_loses_no_answered_request_either(start_web: StartWeb, register: Register) -> None:
    web = start_web(workers=2)
    alice = register("alice", web.url)
    answered, cut = [], []

    def ask(number: int) -> None:
        for asked in range(10):
            try:
                with alice.signed_in(alice.tokens["access_token"]) as client:
                    answered.append(client.get("auth/me").raise_for_status())
            except httpx2.TransportError:
                cut.append(number)
            if (number, asked) in ((0, 2), (0, 6)):
                web.kill_worker()

    at_once(CLIENTS, ask)
    assert len(answered) + len(cut) == 10 * CLIENTS
    # A request that was cut off may have been answered and counted: the response was lost on the way.
    assert 0 <= total(alice) - REGISTERED - len(answered) <= len(cut)


def test_a_method_of_any_length_is_counted_and_stops_no_counting(alice: Person, eventually: Eventually) -> None:
    answer = alice.request("ABCDEFGHIJKLMNOPQRST", "auth/me")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert total(alice) == REGISTERED + 1
    eventually(lambda: written(alice) == (REGISTERED + 2, REGISTERED + 2))
    assert RequestRecord.objects.filter(user_id=alice.id, method="ABCDEFGHIJ", status=405).count() == 1


def test_a_request_to_one_process_is_seen_by_another_at_once(alice: Person, web_with: Callable[..., str]) -> None:
    with Api(web_with(**ELSEWHERE), token=alice.tokens["access_token"]) as there:
        for asked in range(10):
            assert total(there) == REGISTERED + 3 * asked
            assert alice.get("auth/me").status_code == 200
            assert total(alice) == REGISTERED + 3 * asked + 2


@pytest.fixture
def own_valkey(data_dir: Path) -> Iterator[Valkey]:
    valkey = start_valkey(data_dir)  # it keeps its data when it is killed
    yield valkey
    valkey.kill()


@pytest.fixture
def own_web(own_stores: OwnStores, start_web: StartWeb) -> StartWeb:
    """`start_web` with the test's own stores."""
    return partial(start_web, **own_stores.env)


def keys_in_stream() -> list[bytes]:
    entries: Any = redis_client().xrange(STREAM)
    return [fields[b"k"] for _, fields in entries]


def stream_is_read() -> bool:
    newest: Any = redis_client().xrevrange(STREAM, count=1)
    [(last_id, _)] = newest
    return RecorderPosition.objects.filter(last_id=last_id.decode()).exists()


def ask(person: Person, times: int) -> int:
    for _ in range(times):
        assert person.get("auth/me").status_code == 200
    return times


@pytest.mark.faults
def test_redis_may_die_and_come_back(
    own_web: StartWeb, own_valkey: Valkey, register: Register, eventually: Eventually
) -> None:
    web = own_web(workers=1)
    alice = register("alice", web.url)
    answered = REGISTERED
    for _ in range(3):
        answered += ask(alice, 5)
        own_valkey.kill()
        answered += ask(alice, 5)
        own_valkey.start()
        answered += ask(alice, 5)
        assert total(alice) == answered
        answered += 1
    eventually(lambda: written(alice) == (answered, answered))
    web.terminate()
    assert written(alice) == (answered, answered)


@pytest.mark.faults
def test_what_arrives_after_it_was_given_up_is_counted_once(
    own_web: StartWeb, own_stores: OwnStores, own_valkey: Valkey, register: Register, eventually: Eventually
) -> None:
    web = own_web(workers=1)
    alice = register("alice", web.url)
    eventually(stream_is_read)
    os.kill(own_valkey.pid, signal.SIGSTOP)  # it accepts data without processing it
    answered = REGISTERED + ask(alice, 5)
    eventually(lambda: written(alice) == (answered, answered))
    os.kill(own_valkey.pid, signal.SIGCONT)
    for _ in range(10):
        assert total(alice) == answered
        answered += 1
    by_another_way = own_stores.rows(
        "SELECT key, extract(epoch FROM at)::float FROM usage_requestrecord WHERE user_id = %s ORDER BY at LIMIT 5"
        " OFFSET %s",
        alice.id,
        REGISTERED,
    )
    with redis.Redis.from_url(own_valkey.url) as client:
        for key, at in by_another_way:
            fields = {"u": alice.id, "t": at, "m": "GET", "r": "late", "s": 200, "d": 1, "k": key}
            client.xadd(STREAM, fields)
    assert total(alice) == answered
    answered += 1
    eventually(stream_is_read)
    eventually(lambda: written(alice) == (answered, answered))
    web.terminate()
    assert written(alice) == (answered, answered)


@pytest.mark.faults
def test_cut_connections_to_redis_neither_lose_nor_repeat_a_request(
    own_web: StartWeb, own_valkey: Valkey, register: Register, eventually: Eventually
) -> None:
    web = own_web(workers=1)
    alice = register("alice", web.url)

    def ask_or_cut(number: int) -> int:
        if number:
            with alice.signed_in(alice.tokens["access_token"]) as client:
                return sum(client.get("auth/me").status_code == 200 for _ in range(10))
        with redis.Redis.from_url(own_valkey.url) as client:
            for _ in range(100):
                client.client_kill_filter(_type="normal", skipme=True)
        return 0

    answered = REGISTERED + sum(at_once(CLIENTS, ask_or_cut))
    assert total(alice) == answered
    answered += 1
    eventually(lambda: written(alice) == (answered, answered))
    web.terminate()
    assert written(alice) == (answered, answered)


@pytest.mark.faults
def test_what_redis_has_no_memory_for_is_written_by_the_process_itself(
    own_web: StartWeb, own_valkey: Valkey, register: Register, eventually: Eventually
) -> None:
    web = own_web(workers=1)
    alice = register("alice", web.url)
    eventually(stream_is_read)
    with redis.Redis.from_url(own_valkey.url) as client:
        client.config_set("maxmemory", "1")
        answered = REGISTERED + ask(alice, 5)
        eventually(lambda: written(alice) == (answered, answered))
        client.config_set("maxmemory", "0")
    assert len(keys_in_stream()) == REGISTERED
    answered += ask(alice, 5)
    assert total(alice) == answered
    web.terminate()
    assert written(alice) == (answered + 1, answered + 1)


@pytest.mark.faults
def test_a_process_that_ends_without_redis_writes_what_it_holds(
    own_web: StartWeb, own_valkey: Valkey, register: Register, eventually: Eventually
) -> None:
    web = own_web(workers=2)
    alice = register("alice", web.url)
    own_valkey.kill()
    answers: list[httpx2.Response] = []

    def ask_until_refused(number: int) -> None:
        try:
            while True:
                with alice.signed_in(alice.tokens["access_token"]) as client:
                    answers.append(client.get("auth/me").raise_for_status())
        except httpx2.TransportError:
            pass

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask_until_refused, number) for number in range(CLIENTS)]
        eventually(lambda: len(answers) > CLIENTS)
        assert web.terminate()
        for one in asking:
            one.result()
    answered = REGISTERED + len(answers)
    assert written(alice) == (answered, answered)


def test_a_days_traffic_is_that_of_its_records(
    own_stores: OwnStores, start_web: StartWeb, register: Register, eventually: Eventually
) -> None:
    web = start_web(workers=2, **own_stores.env)
    people = [register(name, web.url) for name in ("alice", "bob", "carol")]
    for answered in (REGISTERED + 2, REGISTERED + 4):
        for person in people:
            assert person.get("chat/conversations/x").status_code == 404
            assert person.post("ai/complete", json={"prompt": "[[status=503]]"}).status_code == 503
        # The next requests are counted in another transaction, where these users are already active.
        eventually(lambda: [written(person) for person in people] == [(answered, answered)] * 3)  # noqa: B023
    web.terminate()
    found = own_stores.rows(
        "SELECT date, requests, client_errors, server_errors, active_users, latencies FROM usage_dailytraffic"
        " ORDER BY date"
    )
    records = own_stores.rows(
        "SELECT (at AT TIME ZONE 'UTC')::date, user_id, status, milliseconds, is_long FROM usage_requestrecord"
        " WHERE user_id = ANY(%s)",
        [person.id for person in people],
    )
    expected = []
    for date in sorted({record[0] for record in records}):  # one day, or two at midnight
        rows = [record for record in records if record[0] == date]
        errors = [status // 100 for _, _, status, _, _ in rows]
        latencies = [0] * BUCKETS
        for *_, milliseconds, is_long in rows:
            latencies[bucket_of(milliseconds)] += not is_long
        users = len({user_id for _, user_id, _, _, _ in rows})
        expected.append((date, len(rows), errors.count(4), errors.count(5), users, latencies))
    assert found == expected
    assert sum(row[2] for row in found) == sum(row[3] for row in found) == 6
