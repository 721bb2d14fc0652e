"""GET /usage/me: exact counts of requests and tokens."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from conftest import Person, at_once
from edgechat.redis import redis_client
from usage.models import HourlyUsage, LedgerEntry, RequestRecord
from usage.reports import user_usage

ModelCalls = Callable[[str], list[dict[str, Any]]]


def body(requests: int, input_tokens: int = 0, output_tokens: int = 0) -> dict[str, Any]:
    total = input_tokens + output_tokens
    return {
        "total_requests": requests,
        "requests_last_24h": requests,
        "requests_last_7d": requests,
        "tokens": {
            "input": input_tokens,
            "output": output_tokens,
            "total": total,
            "last_24h": total,
            "last_7d": total,
        },
        "quota": {"limit": None, "used": total, "remaining": None, "resets_at": None},
    }


def test_a_new_user_has_used_nothing_but_what_was_asked(alice: Person) -> None:
    # One request was made with the token so far; this one counts once it is answered.
    assert alice.get("usage/me").json() == body(1)
    assert alice.get("usage/me").json() == body(2)
    assert alice.get("usage/me/").json() == body(3)


def test_every_answer_to_a_valid_token_counts_once(alice: Person, bob: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    statuses = [
        alice.get("auth/me"),
        alice.head("auth/me"),
        alice.get(f"chat/conversations/{conversation}"),
        alice.get("chat/conversations/nothing"),
        alice.get("chat/conversations?limit=0"),
        alice.put("users/me"),
        alice.post("ai/complete", content=b"{", headers={"Content-Type": "application/json"}),
        alice.post("ai/complete", content=b"x", headers={"Content-Type": "text/plain"}),
        alice.delete(f"chat/conversations/{conversation}"),
    ]
    assert [answer.status_code for answer in statuses] == [200, 200, 200, 404, 422, 405, 400, 415, 204]
    assert alice.get("usage/me").json() == body(11)
    assert bob.get("usage/me").json() == body(1)


def test_what_has_no_valid_token_counts_for_nobody(alice: Person) -> None:
    for header in ("", "Bearer nonsense", f"Bearer {alice.tokens['refresh_token']}"):
        assert alice.get("auth/me", headers={"Authorization": header}).status_code == 401
    alice.post("auth/login", json={"email": alice.email, "password": alice.password})
    alice.get("health")
    assert alice.get("usage/me").json() == body(1)


def test_a_request_refused_by_its_address_does_not_count(alice: Person) -> None:
    with alice.signed_in(alice.tokens["access_token"]) as busy:
        redis_client().set(f"edgechat:limit:{busy.headers['X-Forwarded-For']}", 100, ex=60)
        assert busy.get("auth/me").status_code == 429
    assert alice.get("usage/me").json() == body(1)


def test_requests_at_the_same_time_are_all_counted(alice: Person) -> None:
    at_once(16, lambda _: [alice.get("auth/me").status_code for _ in range(4)])
    assert alice.get("usage/me").json() == body(65)


def test_the_count_is_the_same_before_and_after_it_is_written_down(
    alice: Person, eventually: Callable[..., Any]
) -> None:
    for _ in range(5):
        alice.get("auth/me")
    assert alice.get("usage/me").json() == body(6)
    eventually(lambda: sum(HourlyUsage.objects.filter(user_id=alice.id).values_list("requests", flat=True)) == 7)
    assert alice.get("usage/me").json() == body(7)
    record = RequestRecord.objects.filter(user_id=alice.id).earliest("id")
    assert (record.method, record.route, record.status) == ("GET", "api/v1/auth/me", 200)


@pytest.mark.parametrize("seconds", [0, 1799, 3599])
def test_24_hours_and_7_days_are_the_current_hour_and_those_before_it(alice: Person, seconds: int) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) + timedelta(days=400)
    ages = (0, 1, 23, 24, 25, 167, 168, 169, 400 * 24 - 1)
    HourlyUsage.objects.bulk_create(
        HourlyUsage(
            user_id=alice.id,
            hour=hour - timedelta(hours=age),
            requests=10**number,
            input_tokens=10**number,
            output_tokens=10**number,
        )
        for number, age in enumerate(ages)
    )
    usage = user_usage(alice.id, now=hour + timedelta(seconds=seconds))
    # Newest first, the powers of ten say which hours were added up; one request was made now.
    assert usage.total_requests == 111_111_111 + 1
    assert (usage.requests_last_24h, usage.requests_last_7d) == (1_111, 1_111_111)
    assert (usage.tokens_last_24h, usage.tokens_last_7d) == (2_222, 2_222_222)
    assert (usage.input_tokens, usage.output_tokens) == (111_111_111, 111_111_111)
    in_month = [
        age for age in ages if (hour - timedelta(hours=age)).replace(day=1).date() == hour.replace(day=1).date()
    ]
    assert usage.tokens_this_month == sum(2 * 10 ** ages.index(age) for age in in_month)


def test_the_ledger_says_of_each_call_what_the_model_said(alice: Person, model_calls: ModelCalls) -> None:
    nonce = uuid.uuid4().hex
    conversation = alice.new_conversation(title="Talk")
    texts = [
        f"{nonce} plain",
        f"{nonce} [[thoughts=11]][[cached=4]]",
        f"{nonce} [[length=400]][[chunks=9]]",
        f"{nonce} [[empty=1]]",
        f"{nonce} [[block=partial]][[thoughts=2]]",
        f"{nonce} [[block=prompt]]",
        f"{nonce} [[say=one two three four]][[chunks=4]][[gap=0.2]][[cut=2]]",
    ]
    for text in texts:
        alice.say(conversation, text)
        alice.post("ai/complete", json={"prompt": text})
    calls = [(call["prompt_tokens"], call["output_tokens"] + call["thoughts_tokens"]) for call in model_calls(nonce)]
    entries = LedgerEntry.objects.filter(user_id=alice.id).order_by("id")
    assert [(entry.input_tokens, entry.output_tokens) for entry in entries] == calls
    assert [entry.purpose for entry in entries] == ["chat", "complete"] * len(texts)
    assert not any(entry.estimated or entry.settled_at is None for entry in entries)
    assert [(entry.thinking_tokens, entry.cached_tokens) for entry in entries][2:4] == [(11, 4)] * 2
    usage = alice.get("usage/me").json()
    assert usage == body(2 + 2 * len(texts), sum(call[0] for call in calls), sum(call[1] for call in calls))


def test_a_call_that_was_refused_is_a_row_that_costs_nothing(alice: Person) -> None:
    for status in (400, 429, 503):
        alice.post("ai/complete", json={"prompt": f"[[status={status}]]"})
    entries = LedgerEntry.objects.filter(user_id=alice.id)
    assert [(one.input_tokens, one.output_tokens, one.estimated) for one in entries] == [(0, 0, False)] * 3
    assert alice.get("usage/me").json()["tokens"]["total"] == 0


def test_a_call_that_broke_off_before_the_model_counted_is_estimated(alice: Person) -> None:
    alice.post("ai/complete", json={"prompt": "x" * 30 + "[[hang=0]]"})
    entry = LedgerEntry.objects.get(user_id=alice.id)
    assert (entry.input_tokens, entry.output_tokens, entry.estimated) == (14, 0, True)
    assert alice.get("usage/me").json()["tokens"]["total"] == 14


def test_a_generated_title_is_a_row_of_its_own(alice: Person, eventually: Callable[..., Any]) -> None:
    alice.say(alice.new_conversation(), "hello")
    entries = LedgerEntry.objects.filter(user_id=alice.id, settled_at__isnull=False)
    eventually(lambda: entries.count() == 2)
    assert sorted(entries.values_list("purpose", flat=True)) == ["chat", "title"]
