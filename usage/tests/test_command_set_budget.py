"""manage.py set_budget."""

from __future__ import annotations

import io

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent, Organization, User
from accounts.tests.logins import new_email
from accounts.tests.staff import make_user
from conftest import Person
from usage.models import Budget

NO_LIMIT = "the default, no limit of tokens a month"


def set_budget(*arguments: str | int) -> str:
    out = io.StringIO()
    call_command("set_budget", *map(str, arguments), stdout=out)
    return out.getvalue()


def budgets(subject: User | Organization) -> list[tuple[str, int | None]]:
    return list(subject.budgets.order_by("period").values_list("period", "token_limit"))


def test_a_users_budget_is_set_by_e_mail_or_id_and_again_changes_nothing() -> None:
    user = make_user()
    name = f"user {user.pk}, {user.email},"
    said = set_budget("--user", user.email.upper(), "--tokens", 5000)
    assert said == f"{name} had {NO_LIMIT}, and has 5000 tokens a month now.\n"
    assert budgets(user) == [("month", 5000)]
    row = Budget.objects.get(user=user)
    assert set_budget("--user", user.pk, "--tokens", 5000) == f"{name} has 5000 tokens a month already.\n"
    said = set_budget("--user", user.pk, "--tokens", 0)
    assert said == f"{name} had 5000 tokens a month, and has 0 tokens a month now.\n"
    assert budgets(user) == [("month", 0)]
    events = AuditEvent.objects.filter(user_id=user.pk, event="budget_set").order_by("id")
    assert [event.details for event in events] == [
        {"period": "month", "limit": after, "before": {"limit": before}, "after": {"limit": after}}
        for before, after in [("default", 5000), (5000, 0)]
    ]
    assert Budget.objects.get(user=user).pk == row.pk


def test_an_organizations_budget_of_a_day_is_beside_that_of_a_month() -> None:
    organization = Organization.objects.create(name="Readers")
    name = f"organization {organization.pk}"
    set_budget("--organization", organization.pk, "--tokens", 7000)
    said = set_budget("--organization", organization.pk, "--period", "day", "--tokens", 300)
    assert said == f"{name} had the default, no limit of tokens a day, and has 300 tokens a day now.\n"
    assert budgets(organization) == [("day", 300), ("month", 7000)]


def test_no_limit_is_something_else_than_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MONTHLY_TOKEN_LIMIT", 900)
    user = make_user()
    name = f"user {user.pk}, {user.email},"
    said = set_budget("--user", user.pk, "--unlimited")
    assert said == f"{name} had the default, 900 tokens a month, and has no limit of tokens a month now.\n"
    assert set_budget("--user", user.pk, "--unlimited") == f"{name} has no limit of tokens a month already.\n"
    assert budgets(user) == [("month", None)]
    said = set_budget("--user", user.pk, "--default")
    assert said == f"{name} had no limit of tokens a month, and has the default, 900 tokens a month now.\n"
    assert set_budget("--user", user.pk, "--default") == f"{name} has the default, 900 tokens a month already.\n"
    assert budgets(user) == []
    # The budget stays when the default changes.
    set_budget("--user", user.pk, "--tokens", 900)
    assert budgets(user) == [("month", 900)]


def test_a_dry_run_says_what_would_change_and_changes_nothing() -> None:
    user = make_user()
    said = set_budget("--user", user.pk, "--tokens", 10, "--dry-run")
    assert said == f"user {user.pk}, {user.email}, has {NO_LIMIT}, and would have 10 tokens a month.\n"
    set_budget("--user", user.pk, "--tokens", 20)
    set_budget("--user", user.pk, "--default", "--dry-run")
    assert budgets(user) == [("month", 20)]


def test_the_user_sees_it_as_the_quota(alice: Person) -> None:
    set_budget("--user", alice.id, "--tokens", 1234)
    quota = alice.get("usage/me").json()["quota"]
    assert (quota["limit"], quota["used"], quota["remaining"]) == (1234, 0, 1234)


@pytest.mark.parametrize("number", ["0", str(2**62), "9" * 30, "x", "-1", "٣", ""])
def test_an_unknown_id_is_a_fault(number: str) -> None:
    for option in ("user", "organization"):
        with pytest.raises(CommandError, match=rf"There is no {option} {number}\."):
            set_budget(f"--{option}={number}", "--tokens", 1)


def test_an_unknown_e_mail_is_a_fault() -> None:
    email = new_email()
    with pytest.raises(CommandError, match=rf"There is no user {email}\."):
        set_budget("--user", email, "--tokens", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tokens", "1"), "one of the arguments --user --organization is required"),
        (("--user", "1", "--organization", "1", "--default"), "not allowed with argument --user"),
        (("--user", "1"), "one of the arguments --tokens --unlimited --default is required"),
        (("--user", "1", "--tokens", "1", "--unlimited"), "not allowed with argument --tokens"),
        (("--user", "1", "--tokens=-1"), "'-1' is not a number of tokens"),
        (("--user", "1", "--tokens", str(2**63)), "is not a number of tokens"),
        (("--user", "1", "--period", "year", "--default"), "invalid choice: 'year'"),
    ],
    ids=["nobody", "two", "no limit", "two limits", "below nothing", "too large", "a year"],
)
def test_what_makes_no_sense_is_a_fault(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        set_budget(*arguments)
