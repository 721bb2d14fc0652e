"""The cost of a call: by the model that answered, at the price of its day."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import IntegrityError, transaction

from conftest import Person
from edgechat.tests.web_settings import SMALL
from usage.ledger.services import open_entry, settle_entry
from usage.ledger.tokens import TokenUsage
from usage.models import LedgerEntry, ModelPrice, today

DAY = timedelta(days=1)
ASKED = settings.GEMINI_MODEL


@pytest.fixture
def name() -> str:
    """The name of a model that no other test uses."""
    return f"priced-{uuid.uuid4().hex[:12]}-lite"


def price(model: str, micros: int, *, valid_from: date | None = None) -> ModelPrice:
    prices = dict.fromkeys(("input_micros", "cached_input_micros", "output_micros"), micros)
    return ModelPrice.objects.create(model=model, valid_from=valid_from or today(), **prices)


def cost(*, asked: str, answered_by: str = "", opened_at: datetime | None = None) -> int | None:
    """The cost of a million tokens, which is the price."""
    attempt = uuid.uuid4().hex
    purpose = LedgerEntry.Purpose.CHECK
    open_entry(attempt_id=attempt, user_id=None, purpose=purpose, model=asked, input_tokens=1, max_output_tokens=1)
    if opened_at is not None:
        LedgerEntry.objects.filter(attempt_id=attempt).update(opened_at=opened_at)
    settle_entry(attempt, TokenUsage(input_tokens=1_000_000), answered_by=answered_by)
    entry = LedgerEntry.objects.get(attempt_id=attempt)
    assert (entry.model, entry.answered_by) == (asked, answered_by)
    return entry.cost_micros


@pytest.mark.parametrize("version", ["{}", "models/{}", "{}-001", "models/{}-001", "{}-20261128", "{}@002"])
def test_a_call_is_priced_by_the_model_that_answered(alice: Person, name: str, version: str) -> None:
    price(name, 7_000_000)
    answer = alice.post("ai/complete", json={"prompt": f"[[version={version.format(name)}]]words"})
    assert answer.status_code == 200
    [entry] = LedgerEntry.objects.filter(user_id=alice.id)
    assert (entry.model, entry.answered_by) == (ASKED, answer.json()["model"])
    assert entry.answered_by == version.format(name).removeprefix("models/")
    assert entry.cost_micros == 7 * (entry.input_tokens + entry.output_tokens)


def test_a_version_with_a_price_of_its_own_has_that(name: str) -> None:
    price(name, 1)
    price(f"{name}-002", 2)
    assert [cost(asked=ASKED, answered_by=f"{name}{end}") for end in ("", "-001", "-002")] == [1, 1, 2]


def test_a_model_that_is_asked_stands_in_for_one_without_a_price(name: str) -> None:
    price(name, 5)
    for answered_by in ("", f"{name}-max", f"{name.removesuffix('-lite')}", "another"):
        assert cost(asked=name, answered_by=answered_by) == 5
    assert cost(asked=f"{name}-001") == 5
    assert cost(asked=f"{name}-more", answered_by="another") is None


def test_a_local_model_costs_nothing_whatever_was_asked(name: str) -> None:
    price(name, 5)
    for asked, answered_by in ((name, "local-tiny"), ("local-tiny", ""), ("local-tiny", "local-tiny")):
        assert cost(asked=asked, answered_by=answered_by) == 0
    assert cost(asked=name, answered_by="local-scripted") == 5


def test_the_price_of_the_day_counts(name: str) -> None:
    assert cost(asked=name) is None
    price(name, 4, valid_from=today() + DAY)
    assert cost(asked=name) is None
    price(name, 3)
    assert cost(asked=name) == 3
    price(name, 2, valid_from=today() - 3 * DAY)
    price(name, 1, valid_from=today() - 9 * DAY)
    midnight = datetime.combine(today(), datetime.min.time(), UTC)
    found = [cost(asked=name, opened_at=midnight - age * DAY - timedelta(seconds=1)) for age in (0, 2, 3, 8, 9)]
    assert found == [2, 2, 1, 1, None]
    assert [cost(asked=name, opened_at=midnight), cost(asked=ASKED, answered_by=name)] == [3, 3]


def test_a_model_without_a_price_of_that_day_is_stood_in_for(name: str) -> None:
    price(name, 9, valid_from=today() + DAY)
    price(f"{name}-asked", 6)
    assert cost(asked=f"{name}-asked", answered_by=name) == 6


def test_a_model_has_one_price_a_day(name: str) -> None:
    price(name, 1)
    with pytest.raises(IntegrityError), transaction.atomic():
        price(name, 2)
    price(name, 2, valid_from=today() + DAY)


def test_the_default_model_comes_with_its_price() -> None:
    migration = import_module("usage.migrations.0008_dated_prices")
    assert ASKED == migration.MODEL == "gemini-3.5-flash-lite"
    with transaction.atomic():
        prices = ModelPrice.objects.filter(model=ASKED)
        prices.delete()
        for _ in range(2):
            migration.add_price(apps, None)
        [found] = prices.values_list("valid_from", "input_micros", "cached_input_micros", "output_micros")
        transaction.set_rollback(True)
    assert found == (date(2000, 1, 1), 300_000, 30_000, 2_500_000)


def test_the_api_version_is_a_setting(web_with: Callable[..., str], model_calls: Callable[[str], Any]) -> None:
    assert SMALL["GEMINI_API_VERSION"] == "v1beta"
    for own, path in ((SMALL, "/v1beta/"), ({}, "/v1/")):
        carol = Person(web_with(**own), "carol")
        assert carol.post("ai/complete", json={"prompt": f"version-{carol.id}"}).status_code == 200
        [call] = model_calls(f"version-{carol.id}")
        assert call["path"].startswith(f"{path}models/{ASKED}:")
        carol.close()
