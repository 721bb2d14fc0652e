"""Budgets: the possible cost of a call is reserved before the call, and the actual cost is settled after it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Membership, Organization, User
from conftest import Person, assert_error, at_once, full_size
from conversations.tests.events import EVENT_STREAM
from edgechat.local.web import WebServer
from edgechat.tests.web_settings import WITHOUT_MODEL
from usage.ledger.budgets import period_end
from usage.ledger.services import set_budget
from usage.models import Budget, LedgerEntry, Spending

Eventually = Callable[..., Any]
StartWeb = Callable[..., WebServer]
ModelCalls = Callable[[str], list[dict[str, Any]]]

USED_UP = "The account's budget of {limit} tokens a {period} has not enough left for this"


def limit(person: Person, tokens: int | None, period: Any = "month") -> None:
    Budget.objects.update_or_create(user_id=person.id, period=period, defaults={"token_limit": tokens})


def complete(person: Person, prompt: str = "hello", **more: Any) -> Any:
    return person.post("ai/complete", json={"prompt": prompt}, **more)


def spending(person: Person) -> Spending:
    return Spending.objects.get(user_id=person.id)


def total_of(person: Person) -> int:
    entries = LedgerEntry.objects.filter(user_id=person.id)
    return sum(entry.input_tokens + entry.output_tokens for entry in entries)


def end_of(period: Any) -> str:
    return f"{period_end(period, timezone.now()):%Y-%m-%dT%H:%M:%SZ}"


def assert_exceeded(answer: Any, *, budget: str, limit: int) -> None:
    subject, period = budget.split("_")
    owner = "account" if subject == "user" else "organization"
    detail = f"The {owner}'s budget of {limit} tokens a {period} has not enough left for this"
    resets_at = end_of(period)
    assert_error(answer, 429, "budget_exceeded", detail, context={"budget": budget, "resets_at": resets_at})
    left = datetime.fromisoformat(resets_at) - datetime.now(UTC)
    assert 0 <= int(answer.headers["Retry-After"]) - left.total_seconds() < 60


@pytest.mark.parametrize("period", ["month", "day"])
def test_a_budget_that_is_spent_is_a_429_until_it_is_reset(alice: Person, model_calls: ModelCalls, period: str) -> None:
    limit(alice, 0, period)
    assert_exceeded(complete(alice, f"spent-{alice.id}"), budget=f"user_{period}", limit=0)
    assert model_calls(f"spent-{alice.id}") == []
    assert not LedgerEntry.objects.filter(user_id=alice.id).exists()
    limit(alice, 10_000, period)
    assert complete(alice).status_code == 200


def test_the_quota_of_usage_me_is_the_tightest_budget(alice: Person) -> None:
    limit(alice, 100_000)
    assert complete(alice).status_code == 200
    used = total_of(alice)
    assert alice.get("usage/me").json()["quota"] == {
        "limit": 100_000,
        "used": used,
        "remaining": 100_000 - used,
        "resets_at": end_of("month"),
    }
    limit(alice, used + 1, "day")
    quota = {"limit": used + 1, "used": used, "remaining": 1, "resets_at": end_of("day")}
    assert alice.get("usage/me").json()["quota"] == quota
    limit(alice, None, "day")
    limit(alice, None)
    quota = {"limit": None, "used": used, "remaining": None, "resets_at": None}
    assert alice.get("usage/me").json()["quota"] == quota


def test_an_answer_is_as_long_as_what_is_left(alice: Person, model_calls: ModelCalls) -> None:
    prompt = f"[[length=4000]]left-{alice.id}"
    limit(alice, 100)
    answer = complete(alice, prompt)
    assert (answer.status_code, answer.json()["finish_reason"]) == (200, "MAX_TOKENS")
    [call] = model_calls(f"left-{alice.id}")
    estimate = -(-len(prompt) // 3)
    assert call["generation_config"]["maxOutputTokens"] == 100 - estimate
    assert total_of(alice) <= 100
    assert spending(alice).reserved_tokens == 0


def test_a_budget_s_last_token_can_be_used(alice: Person) -> None:
    limit(alice, 3)
    answer = complete(alice, "hello")  # 2 tokens, by the estimate and by the model's count
    assert (answer.status_code, answer.json()["usage"]["total_tokens"]) == (200, 3)
    assert_exceeded(complete(alice, "hello"), budget="user_month", limit=3)


def test_a_hundred_calls_at_once_do_not_pass_a_budget(alice: Person, model_calls: ModelCalls) -> None:
    marker = f"[[delay=0.3]][[length=400]]hundred-{alice.id}"
    limit(alice, 1000)
    answers = at_once(100, lambda _: complete(alice, marker))
    served = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert served
    assert len(served) + len(refused) == 100
    assert {answer.json()["code"] for answer in refused} == {"budget_exceeded"}
    calls = model_calls(f"hundred-{alice.id}")
    assert len(calls) == len(served) == LedgerEntry.objects.filter(user_id=alice.id).count()
    spent = sum(call["prompt_tokens"] + call["output_tokens"] for call in calls)
    now = spending(alice)
    assert spent == total_of(alice) == now.month_tokens == now.day_tokens <= 1000
    assert now.reserved_tokens == 0
    # A refused call may succeed now that the others have ended, until less is left than any call needs.
    while (answer := complete(alice, marker)).status_code == 200:
        assert total_of(alice) <= 1000
    assert_exceeded(answer, budget="user_month", limit=1000)


def test_what_only_running_calls_hold_back_is_worth_a_try_soon(
    alice: Person, model_calls: ModelCalls, eventually: Eventually
) -> None:
    limit(alice, 5000)
    with alice.stream(
        "POST", "ai/complete", json={"prompt": f"[[hang=60]]holds-{alice.id}"}, headers=EVENT_STREAM
    ) as held:
        assert held.status_code == 200
        eventually(lambda: model_calls(f"holds-{alice.id}"))
        answer = complete(alice)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
    assert answer.json()["context"] == {"budget": "user_month", "resets_at": end_of("month")}
    # A disconnect ends the call and releases the tokens that it did not use.
    eventually(lambda: spending(alice).reserved_tokens == 0)
    assert complete(alice).status_code == 200


@pytest.mark.parametrize("directive", ["[[status=503]]", "[[status=429]]", "[[cut=1]]", "[[block=answer]]"])
def test_a_call_that_fails_gives_back_what_it_reserved(alice: Person, directive: str) -> None:
    limit(alice, 100_000)
    assert complete(alice, f"{directive}one two three four five six").status_code in (422, 429, 503)
    now = spending(alice)
    assert (now.reserved_tokens, now.month_tokens) == (0, total_of(alice))


def test_a_model_that_is_not_there_costs_nothing(web_with: Callable[..., str], register: Any) -> None:
    carol = register("carol", web_with(**WITHOUT_MODEL))
    limit(carol, 10_000)
    assert complete(carol).status_code == 503
    assert (spending(carol).reserved_tokens, spending(carol).month_tokens) == (0, 0)
    assert not LedgerEntry.objects.filter(user_id=carol.id).exists()


@pytest.fixture
def organization(alice: Person) -> Organization:
    made = Organization.objects.create(name="Budgeted", created_by_id=alice.id)
    Membership.objects.create(organization=made, user_id=alice.id, role="owner")
    return made


def test_the_tighter_of_user_and_organization_wins(alice: Person, organization: Organization) -> None:
    conversation = alice.new_conversation(title="Ours", organization_id=organization.pk)
    set_budget(subject=organization, period="month", token_limit=5)
    limit(alice, 1_000_000)
    assert_exceeded(alice.say(conversation, "hello " * 10), budget="organization_month", limit=5)
    assert complete(alice).status_code == 200  # not charged to the organization
    set_budget(subject=organization, period="month", token_limit=1_000_000)
    assert alice.say(conversation, "hello").status_code == 200
    assert Spending.objects.get(organization=organization).month_tokens > 0
    limit(alice, 5)
    assert_exceeded(alice.say(conversation, "hello " * 10), budget="user_month", limit=5)


def test_many_calls_of_one_organization_at_once_do_not_pass_its_budget(
    alice: Person, bob: Person, organization: Organization
) -> None:
    """A hundred calls with FULL_SIZE=1, and 40 otherwise."""
    count = full_size(100, 40)
    Membership.objects.create(organization=organization, user_id=bob.id, role="member")
    set_budget(subject=organization, period="day", token_limit=700)
    talks = [
        (person, person.new_conversation(title="Ours", organization_id=organization.pk))
        for _ in range(count // 2)
        for person in (alice, bob)
    ]

    def send(number: int) -> int:
        person, conversation = talks[number]
        status: int = person.say(conversation, f"[[delay=0.3]]{number}").status_code
        return status

    statuses = at_once(count, send)
    assert set(statuses) == {200, 429}
    now = Spending.objects.get(organization=organization)
    assert (now.reserved_tokens, now.day_tokens) == (0, total_of(alice) + total_of(bob))
    assert now.day_tokens <= 700
    for (person, conversation), status in zip(talks, statuses, strict=True):
        assert len(person.messages(conversation)["messages"]) == (2 if status == 200 else 0)


def waits_for_this_connection() -> bool:
    """Whether a server's statement waits for a lock of this test's transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) > 0 FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))")
        found: bool = cursor.fetchone()[0]
        return found


def test_an_organization_is_deleted_without_keeping_its_members_calls_from_ending(
    alice: Person, organization: Organization, model_calls: ModelCalls, eventually: Eventually
) -> None:
    """An organization with many ledger rows takes a while; and calls lock their row first, its spending after that."""
    conversation = alice.new_conversation(title="Ours", organization_id=organization.pk)
    assert alice.say(conversation, "hello").status_code == 200
    with ThreadPoolExecutor(2) as pool:
        reply = pool.submit(alice.say, conversation, f"[[chunks=2]][[gap=600]]stopped-{alice.id} one two")
        eventually(lambda: model_calls(f"stopped-{alice.id}"))
        with transaction.atomic():
            assert LedgerEntry.objects.select_for_update().exclude(settled_at=None).get(organization=organization)
            deletion = pool.submit(alice.delete, f"organizations/{organization.pk}")
            eventually(waits_for_this_connection)
            stopped = alice.post(f"chat/conversations/{conversation}/messages/{conversation}:00000004/stop")
            assert stopped.json()["status"] == "stopped"
            ended = LedgerEntry.objects.filter(user_id=alice.id, settled_at__isnull=False)
            eventually(lambda: ended.count() == 2, seconds=30)
        assert deletion.result().status_code == 204
        assert reply.result().status_code == 200
    assert not Spending.objects.filter(organization_id=organization.pk).exists()
    assert not LedgerEntry.objects.filter(organization_id=organization.pk).exists()
    assert (spending(alice).reserved_tokens, spending(alice).month_tokens) == (0, total_of(alice))


def test_an_organization_that_is_deleted_as_a_call_begins_does_not_pay_for_it(
    alice: Person, organization: Organization, eventually: Eventually
) -> None:
    conversation = alice.new_conversation(title="Ours", organization_id=organization.pk)
    assert alice.say(conversation, "hello").status_code == 200
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert Spending.objects.select_for_update().get(organization=organization)
            answer = pool.submit(alice.say, conversation, "and on")
            eventually(waits_for_this_connection)
            organization.delete()
        assert answer.result().status_code == 200, answer.result().text
    assert (spending(alice).reserved_tokens, spending(alice).month_tokens) == (0, total_of(alice))


def test_a_message_that_no_budget_allows_is_not_stored(alice: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    assert alice.say(conversation, "hello", client_message_id="first").status_code == 200
    before = alice.get(f"chat/conversations/{conversation}").json()
    limit(alice, 0)
    again = f"chat/conversations/{conversation}/messages/{conversation}:00000002/regenerate"
    for answer in (
        alice.say(conversation, "more", client_message_id="second"),
        alice.post(again, json={"content": "other"}),
        alice.post(f"chat/conversations/{conversation}/messages", json={"content": "streamed"}, headers=EVENT_STREAM),
    ):
        assert_exceeded(answer, budget="user_month", limit=0)
    assert alice.get(f"chat/conversations/{conversation}").json() == before
    assert len(alice.messages(conversation)["messages"]) == 2
    # Earlier answers stay available.
    assert alice.say(conversation, "hello", client_message_id="first").status_code == 200
    limit(alice, None)
    assert alice.say(conversation, "more", client_message_id="second").status_code == 200


def test_a_send_that_is_repeated_at_once_needs_room_for_one(alice: Person) -> None:
    limit(alice, 1000)
    conversation = alice.new_conversation(title="Once")
    answers = at_once(
        20, lambda _: alice.say(conversation, "[[delay=0.5]][[length=400]]once", client_message_id="the-one")
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == 1
    assert spending(alice).reserved_tokens == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"), [("ai/complete", {"prompt": "hello"}), ("ai/summarize", {"text": "One. Two. Three."})]
)
def test_one_off_calls_are_refused_before_the_first_event(alice: Person, path: str, body: Any, stream: bool) -> None:
    limit(alice, 0)
    answer = alice.post(path, json=body, headers=EVENT_STREAM if stream else {})
    assert_exceeded(answer, budget="user_month", limit=0)


def test_action_items_are_refused(alice: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    assert alice.say(conversation, "Buy milk").status_code == 200
    limit(alice, 0)
    assert_exceeded(alice.post(f"chat/conversations/{conversation}/action-items"), budget="user_month", limit=0)


def test_a_title_is_left_out_where_the_budget_is_spent(
    start_web: StartWeb, register: Any, eventually: Eventually
) -> None:
    web = start_web()
    carol = register("carol", web.url)
    limit(carol, 60)
    conversation = carol.new_conversation()
    assert carol.say(conversation, "[[length=1000]]What is a budget?").status_code == 200
    eventually(lambda: "upkeep_skipped" in web.log_text())
    assert carol.get(f"chat/conversations/{conversation}").json()["title"] == "[[length=1000]]What is a budget?"
    assert list(LedgerEntry.objects.filter(user_id=carol.id).values_list("purpose", flat=True)) == ["chat"]
    assert total_of(carol) <= 60


def test_the_limits_for_everybody_and_for_the_unverified_are_settings(start_web: StartWeb, register: Any) -> None:
    """The limit of the unverified counts in addition to every other."""
    web = start_web(MONTHLY_TOKEN_LIMIT="60", UNVERIFIED_TOKEN_LIMIT="40")
    carol, dave = register("carol", web.url), register("dave", web.url)

    def quota() -> Any:
        return carol.get("usage/me").json()["quota"]

    assert quota() == {"limit": 40, "used": 0, "remaining": 40, "resets_at": end_of("month")}
    for tokens in (20_000, None):
        limit(carol, tokens)
        assert quota()["limit"] == 40
        assert_exceeded(complete(carol, "x" * 200), budget="user_month", limit=40)
    limit(carol, 30)
    assert quota()["limit"] == 30
    assert_exceeded(complete(carol, "x" * 200), budget="user_month", limit=30)
    Budget.objects.filter(user_id=carol.id).delete()
    answers = at_once(8, lambda _: complete(carol, "[[length=1000]]"))
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert total_of(carol) <= 40
    User.objects.filter(pk=carol.id).update(is_verified=True)
    assert quota()["limit"] == 60
    assert_exceeded(complete(carol, "x" * 200), budget="user_month", limit=60)
    limit(carol, 10_000)
    assert quota()["limit"] == 10_000
    assert complete(carol, "x" * 200).status_code == 200
    User.objects.filter(pk=dave.id).update(is_verified=True)
    fresh = {"limit": 60, "used": 0, "remaining": 60, "resets_at": end_of("month")}
    assert dave.get("usage/me").json()["quota"] == fresh


def test_without_another_budget_the_unverified_have_theirs_alone(start_web: StartWeb, register: Any) -> None:
    carol = register("carol", start_web(UNVERIFIED_TOKEN_LIMIT="0").url)
    assert carol.get("usage/me").json()["quota"]["limit"] == 0
    assert_exceeded(complete(carol), budget="user_month", limit=0)
    User.objects.filter(pk=carol.id).update(is_verified=True)
    assert carol.get("usage/me").json()["quota"]["limit"] is None
    assert complete(carol).status_code == 200


def test_a_month_that_is_over_is_forgotten(alice: Person) -> None:
    limit(alice, 1000)
    assert complete(alice).status_code == 200
    last_month = (timezone.now().replace(day=1) - timedelta(days=1)).date()
    Spending.objects.filter(user_id=alice.id).update(
        month=last_month.replace(day=1), month_tokens=1000, day=last_month, day_tokens=1000
    )
    assert alice.get("usage/me").json()["quota"]["used"] == 0
    before = total_of(alice)
    assert complete(alice).status_code == 200
    now = spending(alice)
    assert now.month_tokens == now.day_tokens == total_of(alice) - before


@pytest.mark.faults
def test_what_a_killed_process_had_reserved_is_there_again(
    start_web: StartWeb, alice: Person, eventually: Eventually, model_calls: ModelCalls
) -> None:
    web = start_web(workers=1)
    limit(alice, 100_000)
    caller = alice.signed_in(alice.tokens["access_token"])
    caller.base_url = f"{web.url}/api/v1/"
    conversation = alice.new_conversation(title="Talk")
    path = f"chat/conversations/{conversation}/messages"
    body = {"content": f"[[chunks=20]][[gap=0.2]]killed-{alice.id} {'word ' * 20}"}
    prompt = f"[[chunks=2]][[gap=600]]killed-{alice.id} one two"
    with (
        caller.stream("POST", path, json=body, headers=EVENT_STREAM) as answer,
        caller.stream("POST", "ai/complete", json={"prompt": prompt}, headers=EVENT_STREAM) as one_off,
    ):
        assert (answer.status_code, one_off.status_code) == (200, 200)
        eventually(lambda: len(model_calls(f"killed-{alice.id}")) == 2)
        assert spending(alice).reserved_tokens > 2 * 8192
        web.kill()
    eventually(lambda: alice.messages(conversation)["messages"][1]["status"] == "complete")
    # The reply is settled by its take-over, the other call by a process that finds its row.
    eventually(lambda: spending(alice).reserved_tokens == 0)
    assert spending(alice).month_tokens == total_of(alice)
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == len(model_calls(f"killed-{alice.id}")) == 3
