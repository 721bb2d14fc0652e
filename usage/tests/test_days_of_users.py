"""The sums of each user's days, from which the admin tells who spent most."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts.models import User
from accounts.tests.staff import make_user
from conftest import Person
from usage.ledger.budgets import DEFAULT
from usage.ledger.services import anonymize_user, open_entry, set_budget, settle_entry
from usage.ledger.tokens import TokenUsage
from usage.models import LedgerEntry, RequestRecord, UserDay
from usage.requests.request_stream import AnsweredRequest
from usage.requests.services import count_requests

SUMS = ("requests", "failed", "calls", "unpriced_calls", "input_tokens", "output_tokens", "cost_micros")


def _sums(user: int | None) -> dict[str, int]:
    """Of all days, because a day may end during the test."""
    found = UserDay.objects.filter(user=user).aggregate(**{name: Sum(name, default=0) for name in SUMS})
    return {name: int(value) for name, value in found.items()}


def test_requests_and_calls_are_added_to_the_day_of_their_user(alice: Person, eventually: Callable[..., Any]) -> None:
    user = User.objects.get(pk=alice.id)
    alice.get("not/there")
    set_budget(subject=user, period="day", token_limit=0)
    assert alice.post("ai/complete", json={"prompt": "Hi"}).status_code == 429
    set_budget(subject=user, period="day", token_limit=DEFAULT)
    for _ in range(2):
        assert alice.post("ai/complete", json={"prompt": "Hi"}).status_code == 200
    eventually(lambda: RequestRecord.objects.filter(user_id=alice.id, route__contains="complete").count() == 3)
    entries = list(LedgerEntry.objects.filter(user_id=alice.id))
    assert _sums(alice.id) == {
        "requests": RequestRecord.objects.filter(user_id=alice.id).count(),
        "failed": 2,
        "calls": 2,
        "unpriced_calls": sum(entry.cost_micros is None for entry in entries),
        "input_tokens": sum(entry.input_tokens for entry in entries),
        "output_tokens": sum(entry.output_tokens for entry in entries),
        "cost_micros": sum(entry.cost_micros or 0 for entry in entries),
    }


def test_a_deleted_account_leaves_its_costs_without_its_requests(alice: Person, eventually: Callable[..., Any]) -> None:
    assert alice.post("ai/complete", json={"prompt": "Hi"}).status_code == 200
    before = _sums(None)
    assert alice.delete("users/me").status_code == 204
    eventually(lambda: not UserDay.objects.filter(user_id=alice.id).exists())
    after = _sums(None)
    assert after["calls"] > before["calls"]
    assert after["output_tokens"] > before["output_tokens"]
    assert (after["requests"], after["failed"]) == (0, 0)


def test_a_call_that_begins_during_the_deletion_leaves_its_costs_without_its_name() -> None:
    user, attempt = make_user(), uuid.uuid4().hex
    anonymize_user(user.pk)
    purpose = LedgerEntry.Purpose.TITLE
    open_entry(attempt_id=attempt, user_id=user.pk, purpose=purpose, model="m", input_tokens=1, max_output_tokens=9)
    settle_entry(attempt, TokenUsage(input_tokens=3, output_tokens=2))
    entry = LedgerEntry.objects.get(attempt_id=attempt)
    before = _sums(None)["calls"]
    user.delete()
    entry.refresh_from_db()
    assert (entry.user_id, entry.attempt_id) == (None, f"erased:{entry.pk}")
    assert _sums(None)["calls"] > before


def test_days_begin_and_end_at_midnight_utc() -> None:
    user = make_user()
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=40)
    moments = (midnight - timedelta(microseconds=1), midnight, midnight + timedelta(days=1, microseconds=-1))
    with transaction.atomic():
        count_requests([AnsweredRequest(user.pk, at, "GET", "r", 503, 1) for at in moments])
        days = UserDay.objects.filter(user=user).order_by("date").values_list("date", "requests", "failed")
        assert list(days) == [
            (midnight.date() - timedelta(days=1), 1, 1),
            (midnight.date(), 2, 2),
        ]
        transaction.set_rollback(True)
