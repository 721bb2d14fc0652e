"""/admin/usage/."""

import html
import uuid
from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.db import transaction
from django.utils import timezone

from accounts.models import Organization, User
from accounts.tests.staff import helper, make_user, superuser
from conftest import Person
from usage.models import (
    Budget,
    DailyTraffic,
    HourlyUsage,
    LedgerEntry,
    ModelPrice,
    OrganizationUsage,
    RequestRecord,
    Spending,
    today,
)

RECORDS = ["hourlyusage", "requestrecord", "ledgerentry", "organizationusage", "spending"]


def _record(model: str, user_id: int) -> int:
    now = timezone.now()
    match model:
        case "hourlyusage":
            return HourlyUsage.objects.create(user_id=user_id, hour=now).pk
        case "requestrecord":
            return RequestRecord.objects.create(
                user_id=user_id, at=now, method="GET", route="r", status=200, milliseconds=1
            ).pk
        case "organizationusage":
            organization = Organization.objects.create(name="with usage")
            return OrganizationUsage.objects.create(organization=organization, user_id=user_id, hour=now).pk
        case "spending":
            return Spending.objects.create(user_id=user_id, month=now.date().replace(day=1), day=now.date()).pk
        case _:
            return LedgerEntry.objects.create(
                attempt_id=uuid.uuid4().hex, user_id=user_id, purpose="chat", model="m", abandoned_after=now
            ).pk


@pytest.mark.parametrize("model", RECORDS)
def test_records_are_found_by_user_and_nobody_changes_them(web_url: str, model: str) -> None:
    user, other = make_user(), make_user()
    key = _record(model, user.pk)
    _record(model, other.pk)
    with superuser(web_url) as root:
        for term in (user.email.upper(), str(user.pk)):
            page = root.get(f"usage/{model}/", params={"q": term}).text
            assert user.email in page
            assert other.email not in page
        assert root.get(f"usage/{model}/{key}/change/").status_code == 200
        assert root.get(f"usage/{model}/add/").status_code == 403
        assert root.post_form(f"usage/{model}/{key}/change/", {"requests": "7"}).status_code == 403
        assert root.post_form(f"usage/{model}/{key}/delete/", {"post": "yes"}).status_code == 403


def test_the_traffic_of_days_is_read_only(web_url: str) -> None:
    DailyTraffic.objects.get_or_create(date="1899-12-31", defaults={"requests": 1_234_567, "latencies": [1]})
    with superuser(web_url) as root:
        assert root.get("usage/dailytraffic/").status_code == 200
        assert "1234567" in root.get("usage/dailytraffic/1899-12-31/change/").text
        assert root.get("usage/dailytraffic/add/").status_code == 403
        assert root.post_form("usage/dailytraffic/1899-12-31/change/", {"requests": "7"}).status_code == 403


def test_the_ledger_says_what_a_call_cost_if_its_model_had_a_price(web_url: str) -> None:
    user = make_user()
    for cost in (1_234_567_890, None):
        LedgerEntry.objects.create(
            attempt_id=uuid.uuid4().hex,
            user=user,
            purpose="chat",
            model="m",
            abandoned_after=timezone.now() + timedelta(days=1),
            reserved_tokens=4321,
            cost_micros=cost,
        )
    with superuser(web_url) as root:
        page = root.get("usage/ledgerentry/", params={"q": user.email}).text
    assert "cost (USD)" in page.replace("Cost", "cost")
    assert page.count("1,234.567890") == 1
    assert page.count("4321") == 2


def test_the_first_prices_replace_none_that_is_there() -> None:
    migration = import_module("usage.migrations.0006_first_prices")
    prices = ModelPrice.objects.filter(model__in=migration.PRICES).order_by("model")
    with transaction.atomic():
        prices.delete()
        ModelPrice.objects.create(model="gemini-2.5-pro", input_micros=1, cached_input_micros=2, output_micros=3)
        migration.add_prices(apps, None)
        found = list(prices.values_list("model", "input_micros", "cached_input_micros", "output_micros"))
        transaction.set_rollback(True)
    assert found == [
        ("gemini-2.5-flash", 300_000, 30_000, 2_500_000),
        ("gemini-2.5-flash-lite", 100_000, 10_000, 400_000),
        ("gemini-2.5-pro", 1, 2, 3),
    ]
    assert migration.PRICES["gemini-2.5-pro"] == (1_250_000, 125_000, 10_000_000)


def test_prices_can_be_added_and_changed(web_url: str) -> None:
    model = f"priced-{uuid.uuid4().hex}"
    fields = {"model": model, "input_micros": "1500000", "cached_input_micros": "1", "output_micros": "0"}
    with superuser(web_url) as root:
        assert root.submit("usage/modelprice/add/", **fields).status_code == 302
        price = ModelPrice.objects.get(model=model)
        page = root.get("usage/modelprice/", params={"q": model}).text
        assert [text for text in ("1.500000", "0.000001", "0.000000") if text not in page] == []
        assert str(today()) in page
        assert root.submit("usage/modelprice/add/", **fields).status_code == 200  # this day already has a price
        assert root.submit("usage/modelprice/add/", **fields, valid_from="2026-01-31").status_code == 302
        assert "2026-01-31" in root.get("usage/modelprice/", params={"q": model}).text
        ModelPrice.objects.get(model=model, valid_from="2026-01-31").delete()
        assert root.submit(f"usage/modelprice/{price.pk}/change/", output_micros="-1").status_code == 200
        assert "Per million tokens, in millionths. 300000 is 0.30 USD." in root.get("usage/modelprice/add/").text
        for name in ("input", "cached_input", "output"):
            too_much = {f"{name}_micros": str(10**13 + 1)}
            assert root.submit(f"usage/modelprice/{price.pk}/change/", **too_much).status_code == 200
        assert root.submit(f"usage/modelprice/{price.pk}/change/", output_micros="7").status_code == 302
    with helper(web_url, "view_modelprice") as staff:
        assert staff.post_form(f"usage/modelprice/{price.pk}/change/", fields).status_code == 403
    price.refresh_from_db()
    assert price.output_micros == 7


def test_staff_without_the_right_see_nothing_of_the_ledger(web_url: str) -> None:
    with helper(web_url, "view_hourlyusage") as staff:
        assert staff.get("usage/hourlyusage/").status_code == 200
        assert staff.get("usage/ledgerentry/").status_code == 403


def test_a_budget_is_of_one_user_or_of_one_organization(web_url: str) -> None:
    user, organization = make_user(), Organization.objects.create(name="with a budget")
    with superuser(web_url) as root:
        path = "usage/budget/add/"
        for chosen in ({"user": "", "organization": ""}, {"user": user.pk, "organization": organization.pk}):
            answer = root.submit(path, token_limit="1000", **chosen)
            assert answer.status_code == 200
            assert "A budget is of one user or of one organization." in html.unescape(answer.text)
        assert root.submit(path, user=user.pk, organization="", token_limit="1000").status_code == 302
        assert root.submit(path, user=user.pk, organization="", token_limit="2000").status_code == 200
        assert root.submit(path, user="", organization=organization.pk, token_limit="3000").status_code == 302
    assert list(Budget.objects.filter(user=user).values_list("period", "token_limit")) == [("month", 1000)]
    assert list(Budget.objects.filter(organization=organization).values_list("token_limit", flat=True)) == [3000]


def test_users_can_be_chosen_by_a_part_of_their_email(web_url: str) -> None:
    user = make_user("Chosen")
    with superuser(web_url) as root:
        query = {"term": user.email[:15], "app_label": "usage", "model_name": "budget", "field_name": "user"}
        answer = root.get("autocomplete/", params=query)
        assert answer.json() == {"results": [{"id": str(user.pk), "text": user.email}], "pagination": {"more": False}}


def test_the_lists_show_the_use_of_budgets_and_the_cost_of_spending(web_url: str, alice: Person) -> None:
    organization = Organization.objects.create(name=f"using {uuid.uuid4().hex}")
    user = User.objects.get(pk=alice.id)
    Budget.objects.create(user=user, token_limit=1000)
    Budget.objects.create(user=user, period="day", token_limit=None)
    Budget.objects.create(organization=organization, token_limit=8)
    day = today()
    for tokens, owner in ((1234, {"user": user}), (4, {"organization": organization})):
        fields = {"month": day.replace(day=1), "day": day, "month_tokens": tokens, "day_tokens": tokens}
        Spending.objects.create(**owner, **fields, month_cost_micros=7_654_321)
    with superuser(web_url) as root:
        page = root.get("usage/budget/", params={"q": alice.email}).text
        assert page.count("1,234 (123 %)") == 1
        assert page.count("1,234") == 2
        assert "4 (50 %)" in root.get("usage/budget/", params={"q": organization.name}).text
        page = root.get("usage/spending/", params={"q": alice.email}).text
        assert "7.654321" in page
        assert "cost of the month (usd)" in page.lower()
