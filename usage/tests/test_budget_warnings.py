"""E-mails about budgets of which 80 percent is used, or all, and what the admin shows of budgets and of spending."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from accounts.models import Membership, Organization, User
from accounts.tests.staff import make_user
from usage.ledger.budget_warnings import WARNINGS_AT_A_TIME, note_refusal, warn_of_budgets
from usage.ledger.budgets import BudgetExceeded
from usage.ledger.services import open_entry
from usage.models import Budget, BudgetWarning, LedgerEntry, Spending

# Web processes of other tests would send these mails too.
pytestmark = pytest.mark.usefixtures("module_stores")


@pytest.fixture(autouse=True)
def _mails() -> Iterator[None]:
    mail.outbox = []
    backend = "django.core.mail.backends.locmem.EmailBackend"
    with override_settings(EMAIL_URL="smtp://mail.example.com", EMAIL_BACKEND=backend):
        yield


def _spend(tokens: int, **owner: Any) -> Spending:
    today = timezone.now().date()
    fields = {"month": today.replace(day=1), "day": today, "month_tokens": tokens, "day_tokens": tokens}
    return Spending.objects.update_or_create(**owner, defaults=fields)[0]


def _subjects(user: User) -> list[str]:
    return [message.subject.partition(": ")[2] for message in mail.outbox if message.to == [user.email]]


def _warn_all() -> None:
    """Until nothing is left to be sent."""
    before = -1
    while before != (before := BudgetWarning.objects.count()):
        warn_of_budgets()


def test_a_user_is_told_once_at_80_and_once_at_100_percent(eventually: Callable[..., Any]) -> None:
    user, other = make_user("spender", is_verified=True), make_user("other", is_verified=True)
    for each in (user, other):
        Budget.objects.create(user=each, token_limit=1000)
    _spend(799, user=user)
    _spend(10, user=other)
    _warn_all()
    assert not BudgetWarning.objects.filter(user__in=(user, other)).exists()
    _spend(812, user=user)
    _warn_all()
    _warn_all()
    eventually(lambda: _subjects(user) == ["80 percent of a budget is used"])
    _spend(1000, user=user)
    _warn_all()
    eventually(lambda: _subjects(user)[1:] == ["A budget is used up"])
    [text] = [message.body for message in mail.outbox if message.to == [user.email] and "80" in message.subject]
    assert "In this month, your account has used 812 of its 1,000 tokens (81 percent)." in text
    assert "UTC" in text
    _warn_all()
    assert BudgetWarning.objects.filter(user=user).count() == 2
    assert _subjects(other) == []


def test_the_owners_of_an_organization_are_told_of_its_daily_budget(eventually: Callable[..., Any]) -> None:
    organization = Organization.objects.create(name=f"warned {uuid.uuid4().hex}")
    people = {role: make_user(role, is_verified=True) for role in ("owner", "admin", "member")}
    for role, user in people.items():
        Membership.objects.create(organization=organization, user=user, role=role)
    Budget.objects.create(organization=organization, period="day", token_limit=100)
    _spend(100, organization=organization)
    _warn_all()
    eventually(lambda: _subjects(people["owner"]) == ["A budget is used up"])
    assert _subjects(people["admin"]) == _subjects(people["member"]) == []
    [text] = [message.body for message in mail.outbox if message.to == [people["owner"].email]]
    assert f"In this day, the organization “{organization.name}” has used 100" in text


def test_processes_that_find_a_budget_at_the_same_time_send_one_mail(eventually: Callable[..., Any]) -> None:
    user = make_user("raced", is_verified=True)
    Budget.objects.create(user=user, token_limit=10)
    _spend(9, user=user)

    def warn(_: int) -> None:
        try:
            _warn_all()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(warn, range(4)))
    eventually(lambda: BudgetWarning.objects.filter(user=user).exists())
    assert BudgetWarning.objects.filter(user=user).count() == 1
    eventually(lambda: len(_subjects(user)) == 1)


def test_refusals_of_more_budgets_than_one_round_warns_of_are_not_forgotten() -> None:
    users = [make_user(f"refused{number}", is_verified=True) for number in range(WARNINGS_AT_A_TIME + 5)]
    for user in users:
        Budget.objects.create(user=user, token_limit=1000)
        _spend(900, user=user)
        note_refusal("user", user.pk, "month")
    _warn_all()
    warned = BudgetWarning.objects.filter(user__in=users)
    assert set(warned.values_list("percent", flat=True)) == {100}
    assert warned.count() == len(users)
    BudgetWarning.objects.filter(user=users[-1]).delete()
    _warn_all()  # a refusal counts once
    assert BudgetWarning.objects.get(user=users[-1]).percent == 80


def test_a_refused_call_makes_a_nearly_used_budget_used_up() -> None:
    user = make_user("refused", is_verified=True)
    Budget.objects.create(user=user, token_limit=1000)
    _spend(990, user=user)
    with pytest.raises(BudgetExceeded):
        open_entry(
            attempt_id=uuid.uuid4().hex,
            user_id=user.pk,
            purpose=LedgerEntry.Purpose.COMPLETE,
            model="m",
            input_tokens=50,
            max_output_tokens=50,
        )
    _warn_all()
    assert list(BudgetWarning.objects.filter(user=user).values_list("percent", flat=True)) == [100]


@override_settings(UNVERIFIED_TOKEN_LIMIT=10)
def test_an_address_that_may_be_somebody_elses_gets_no_mail_until_it_is_verified(
    eventually: Callable[..., Any],
) -> None:
    users = stranger, owner, partner = [make_user(name) for name in ("stranger", "owner", "partner")]
    organization = Organization.objects.create(name=f"unverified {uuid.uuid4().hex}")
    for each in (owner, partner):
        Membership.objects.create(organization=organization, user=each, role="owner")
    User.objects.filter(pk=partner.pk).update(is_verified=True)
    Budget.objects.create(user=stranger, token_limit=10)
    Budget.objects.create(organization=organization, token_limit=10)
    _spend(10, user=stranger)
    _spend(10, organization=organization)
    _warn_all()
    eventually(lambda: _subjects(partner))
    assert not BudgetWarning.objects.filter(user=stranger).exists()
    User.objects.filter(pk=stranger.pk).update(is_verified=True)
    _warn_all()
    eventually(lambda: _subjects(stranger))
    assert [_subjects(each) for each in users] == [["A budget is used up"], [], ["A budget is used up"]]


@override_settings(EMAIL_URL="")
def test_without_a_way_to_send_mail_nothing_is_claimed() -> None:
    user = make_user("silent", is_verified=True)
    Budget.objects.create(user=user, token_limit=10)
    _spend(10, user=user)
    warn_of_budgets()
    assert not BudgetWarning.objects.filter(user=user).exists()


@override_settings(MONTHLY_TOKEN_LIMIT=2**50)
def test_the_default_budget_is_warned_of_too(eventually: Callable[..., Any]) -> None:
    user, unlimited = make_user("default", is_verified=True), make_user("unlimited", is_verified=True)
    Budget.objects.create(user=unlimited, token_limit=None)
    for each in (user, unlimited):
        _spend(2**50 - 1, user=each)
    _warn_all()
    eventually(lambda: _subjects(user) == ["80 percent of a budget is used"])
    assert _subjects(unlimited) == []
