"""GET /usage/me: exact counts, although processes are killed and stores fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
from django.utils import timezone

from accounts.models import User
from conftest import Api, Person, new_address
from edgechat.local.web import WebServer
from edgechat.stores.redis import redis_client
from edgechat.tests.store_proxy import StoreProxy
from edgechat.tests.web_settings import STRICT
from usage.ledger.services import set_budget
from usage.models import HourlyUsage, LedgerEntry, RequestRecord, Spending
from usage.requests.request_stream import STREAM, AnsweredRequest

Eventually = Callable[[Callable[[], Any]], Any]
StartWeb = Callable[..., WebServer]

REGISTERED = 1  # a Person starts with a request for auth/me


def usage(person: Person) -> dict[str, Any]:
    answer = person.get("usage/me")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def written(person: Person) -> int:
    """The number of a person's requests in PostgreSQL."""
    return sum(HourlyUsage.objects.filter(user_id=person.id).values_list("requests", flat=True))


def test_a_new_user_has_used_nothing_but_the_requests_before_this_one(alice: Person) -> None:
    for asked in range(3):
        requests = REGISTERED + asked
        assert usage(alice) == {
            "total_requests": requests,
            "requests_last_24h": requests,
            "requests_last_7d": requests,
            "tokens": {"input": 0, "output": 0, "total": 0, "last_24h": 0, "last_7d": 0},
            "quota": {"limit": None, "used": 0, "remaining": None, "resets_at": None},
        }


def test_every_status_counts_but_401(alice: Person) -> None:
    json_type = {"Content-Type": "application/json"}
    conversation = alice.new_conversation(title="Counted")
    answers = [
        alice.get("auth/me"),
        alice.get("chat/conversations/x"),
        alice.delete("usage/me"),
        alice.post("chat/conversations", json={"title": 201 * "t"}),
        alice.post("chat/conversations", content=b"{", headers=json_type),
        alice.post("chat/conversations", content=b"x", headers={"Content-Type": "text/plain"}),
        alice.say(conversation, "[[status=429]]"),
        alice.say(conversation, "[[status=503]]"),
        alice.say(conversation, "hello"),
        alice.delete(f"chat/conversations/{conversation}"),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 405, 422, 400, 415, 429, 503, 200, 204]
    bad = [Api(alice.origin).get("auth/me"), Api(alice.origin, token="rubbish").get("auth/me")]
    assert [answer.status_code for answer in bad] == [401, 401]
    assert usage(alice)["total_requests"] == REGISTERED + 1 + len(answers)


def test_paths_that_do_not_exist_and_bodies_that_are_too_large_count_too(
    alice: Person, web_with: Callable[..., str]
) -> None:
    url = web_with(**STRICT)
    headers = {**alice.headers, **new_address()}
    unknown = httpx2.get(f"{url}/api/v1/nowhere", headers=headers, trust_env=False)
    large = httpx2.post(
        f"{url}/api/v1/ai/complete", json={"prompt": "x" * 3000}, headers=headers, timeout=30, trust_env=False
    )
    assert (unknown.status_code, large.status_code) == (404, 413)
    assert usage(alice)["total_requests"] == REGISTERED + 2


def test_health_checks_do_not_count_and_nothing_else_is_one(alice: Person) -> None:
    counted = usage(alice)["total_requests"]
    for path in ("health", "health/ready", "health/db", "health/", "../health", "../../health"):
        assert alice.get(path).status_code == 200
        assert alice.post(path, json={}).status_code == 405
    for path in ("health/x", "health/ready/x", "health//", "healthy"):
        assert alice.get(path).status_code == 404
    assert usage(alice)["total_requests"] == counted + 1 + 4


def test_429_by_address_does_not_count(alice: Person, web_with: Callable[..., str]) -> None:
    url = web_with(**STRICT)
    headers = {**alice.headers, **new_address()}
    with httpx2.Client(headers=headers, timeout=30, trust_env=False) as client:
        statuses = [client.get(f"{url}/api/v1/auth/me").status_code for _ in range(9)]
    assert statuses == [200] * 5 + [429] * 4
    assert usage(alice)["total_requests"] == REGISTERED + 5


def test_tokens_are_what_the_model_counted(alice: Person, model_calls: Callable[[str], list[dict[str, Any]]]) -> None:
    conversation = alice.new_conversation(title="Tokens", system_instruction="Be brief")
    for text in ("one", "[[thoughts=11]] two", "[[status=429]] three", "[[block=partial]] four"):
        alice.say(conversation, f"{text} tokens-{alice.id}")
    alice.post("ai/complete", json={"prompt": f"five tokens-{alice.id}"})
    calls = [call for call in model_calls(f"tokens-{alice.id}") if "status=429" not in call["text"]]
    assert len(calls) == 4
    given = sum(call["prompt_tokens"] for call in calls)
    written_by_model = sum(call["output_tokens"] + call["thoughts_tokens"] for call in calls)
    total = given + written_by_model
    body = usage(alice)
    assert body["tokens"] == {
        "input": given,
        "output": written_by_model,
        "total": total,
        "last_24h": total,
        "last_7d": total,
    }
    assert body["quota"] == {"limit": None, "used": total, "remaining": None, "resets_at": None}
    assert LedgerEntry.objects.filter(user_id=alice.id, settled_at__isnull=False).count() == 5


def test_the_quota_is_the_budget_with_the_least_left(alice: Person) -> None:
    user = User.objects.get(pk=alice.id)
    today = timezone.now().date()
    month = today.replace(day=1)
    Spending.objects.create(user=user, month=month, month_tokens=700, day=today, day_tokens=70)
    set_budget(subject=user, period="month", token_limit=1000)
    end_of_month = f"{(month + timedelta(days=31)).replace(day=1)}T00:00:00Z"
    assert usage(alice)["quota"] == {"limit": 1000, "used": 700, "remaining": 300, "resets_at": end_of_month}
    set_budget(subject=user, period="day", token_limit=100)
    quota = usage(alice)["quota"]
    if timezone.now().date() == today:
        tomorrow = f"{today + timedelta(days=1)}T00:00:00Z"
        assert quota == {"limit": 100, "used": 70, "remaining": 30, "resets_at": tomorrow}
    set_budget(subject=user, period="day", token_limit=None)
    set_budget(subject=user, period="month", token_limit=None)
    assert usage(alice)["quota"] == {"limit": None, "used": 700, "remaining": None, "resets_at": None}


def test_nobody_is_charged_for_anothers_requests(alice: Person, bob: Person) -> None:
    conversation = alice.new_conversation(title="Hers")
    alice.say(conversation, "hello")
    body = usage(bob)
    assert (body["total_requests"], body["tokens"]["total"]) == (REGISTERED, 0)


def test_days_and_weeks_are_counted_in_hours(alice: Person, eventually: Eventually) -> None:
    eventually(lambda: written(alice) == REGISTERED)
    HourlyUsage.objects.filter(user_id=alice.id).delete()
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for number, age in enumerate((0, 24, 25, 168, 169)):
        HourlyUsage.objects.create(
            user_id=alice.id,
            hour=hour - timedelta(hours=age),
            requests=10**number,
            input_tokens=2 * 10**number,
            output_tokens=10**number,
        )
    body = usage(alice)
    if timezone.now().replace(minute=0, second=0, microsecond=0) != hour:  # an hour has passed, and the oldest is gone
        assert (body["requests_last_24h"], body["requests_last_7d"]) == (1, 111)
        return
    assert (body["total_requests"], body["requests_last_24h"], body["requests_last_7d"]) == (11111, 11, 1111)
    assert body["tokens"] == {"input": 22222, "output": 11111, "total": 33333, "last_24h": 33, "last_7d": 3333}


def test_a_killed_process_loses_no_counted_request(start_web: StartWeb) -> None:
    web = start_web(workers=1)
    carol = Person(web.url, "carol")
    for _ in range(40):
        carol.get("auth/me")
    web.kill()
    web.start()
    assert usage(carol)["total_requests"] == REGISTERED + 40
    carol.close()


def test_without_redis_requests_go_on_and_are_counted_in_postgresql(
    start_web: StartWeb, eventually: Eventually
) -> None:
    proxy = StoreProxy(os.environ["REDIS_URL"])
    web = start_web(workers=1, REDIS_URL=proxy.url)
    proxy.close()
    carol = Person(web.url, "carol")
    assert [carol.get("auth/me").status_code for _ in range(20)] == [200] * 20
    eventually(lambda: written(carol) == REGISTERED + 20)
    assert usage(carol)["total_requests"] == REGISTERED + 20
    carol.close()


def test_a_request_that_came_by_two_ways_is_one(alice: Person, eventually: Eventually) -> None:
    """Its process wrote it to PostgreSQL, and it is also in the stream, before and after the stream is collected."""
    eventually(lambda: written(alice) == REGISTERED)
    record = AnsweredRequest(
        user_id=alice.id, at=timezone.now(), method="GET", route="twice", status=200, milliseconds=1
    )
    RequestRecord.objects.create(
        user_id=alice.id, at=record.at, method="GET", route="twice", status=200, milliseconds=1, key=record.key
    )
    HourlyUsage.objects.filter(user_id=alice.id).update(requests=REGISTERED + 1)
    entry = record.as_arguments()
    redis_client().xadd(STREAM, dict(zip(entry[::2], entry[1::2], strict=True)))
    assert usage(alice)["total_requests"] == REGISTERED + 1
    eventually(lambda: written(alice) == REGISTERED + 2)  # includes the request for usage/me
    assert usage(alice)["total_requests"] == REGISTERED + 2
