"""/admin/, in this process and a separate database, at a time that has only this test's rows."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client, override_settings

from accounts.models import Organization, User
from accounts.tests.staff import make_user
from conftest import new_address
from usage.ledger.queries import near_budgets
from usage.models import Budget, DailyCost, DailyTraffic, LedgerEntry, Spending
from usage.reports.latency import LIMITS
from usage.staff import queries, spans
from usage.tests.sums import at, settled

pytestmark = pytest.mark.usefixtures("module_stores")
TODAY = date(2130, 5, 20)
YESTERDAY = TODAY - timedelta(days=1)
MONTH = TODAY.replace(day=1)
NOW = at(TODAY)


@pytest.fixture(autouse=True)
def future(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(spans, "now", lambda: NOW)
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _page(user: User | None = None, **query: Any) -> str:
    browser = Client(headers=new_address())
    browser.force_login(user or make_user("root", is_staff=True, is_superuser=True))
    answer = browser.get("/admin/", query)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def _text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def _charts(page: str) -> dict[str, dict[str, list[Any]]]:
    """The series of each chart, by their names."""
    charts = re.findall(r'aria-label="([^"]*)" data-type="\w+" data-value="(\{.*?\})" data-options="(\{.*?\})"', page)
    assert all(json.loads(options)["responsive"] for _, _, options in charts)
    return {
        title: {series["label"]: series["data"] for series in json.loads(value)["datasets"]}
        for title, value, _ in charts
    }


def _latencies(**counts: int) -> list[int]:
    """`_latencies(b3=5)`: five requests in the third bucket."""
    buckets = [0] * (len(LIMITS) + 1)
    for name, count in counts.items():
        buckets[int(name[1:])] = count
    return buckets


def _traffic() -> None:
    DailyTraffic.objects.create(
        date=YESTERDAY, requests=100, client_errors=7, server_errors=1, active_users=9, latencies=_latencies(b4=100)
    )
    DailyTraffic.objects.create(
        date=TODAY, requests=300, client_errors=2, server_errors=0, active_users=4, latencies=_latencies(b4=297, b9=3)
    )
    DailyTraffic.objects.create(date=TODAY - timedelta(days=40), requests=5000, latencies=[])


def test_without_data_the_page_says_so_and_draws_nothing() -> None:
    for days in ("7", "30", "90"):
        page = _page(days=days)
        assert "Nothing has happened yet" in page
        assert "<canvas" not in page


def test_requests_errors_users_and_latencies_are_those_of_the_days() -> None:
    _traffic()
    page = _page(days="7")
    text = _text(page)
    assert "Requests 400 300 today" in text
    assert "Active users today 4 at most 9 on May 19" in text
    assert "Error rate 2.50 % 9 by clients, 1 by the server" in text
    assert "Tokens 0 0 in, 0 out" in text
    before = [0] * 5
    charts = _charts(page)
    assert charts["Requests per day"] == {"Requests": [*before, 100, 300]}
    assert charts["Active users per day"] == {"Users": [*before, 9, 4]}
    assert charts["Errors per day"] == {
        "Client errors (4xx)": [*before, 7, 2],
        "Server errors (5xx)": [*before, 1, 0],
    }
    latency = charts["Latency per day (ms)"]
    assert list(latency) == ["p50", "p95", "p99"]
    assert all(values[:5] == [None] * 5 and min(values[5:]) > 0 for values in latency.values())
    # Without calls there is neither a chart of them nor an empty axis.
    assert not {"Tokens per day", "Cost per day (USD)"} & set(charts)
    assert "5,400" in _text(_page(days="90"))
    queries: list[dict[str, Any]] = [{}, {"days": "30"}, {"days": "1000"}, {"days": "x"}]
    for query in queries:
        assert len(_charts(_page(**query))["Requests per day"]["Requests"]) == 30


def test_replies_are_apart_from_the_latency_of_requests() -> None:
    _traffic()
    for seconds in (1, 2, 30):
        entry = settled(at(TODAY), cost=1, model="slow")
        LedgerEntry.objects.filter(pk=entry.pk).update(opened_at=at(TODAY) - timedelta(seconds=seconds))
    text = _text(_page(days="7"))
    assert re.search(r"Latency, p95 \d ms 19 of 20 requests within", text)
    assert "Replies, p50 2,000 ms half of the latest written within" in text
    assert "Replies, p99 30.0 s 99 of 100 written within" in text


def test_costs_are_those_of_summed_up_days_and_of_what_was_settled_since(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "costs_until", lambda: TODAY)
    organization = Organization.objects.create(name="The Society")
    common = {"calls": 2, "input_tokens": 1000, "output_tokens": 100}
    DailyCost.objects.create(date=YESTERDAY, model="dear", unpriced_calls=0, cost_micros=3_000_000, **common)
    DailyCost.objects.create(
        date=YESTERDAY, model="cheap", unpriced_calls=1, cost_micros=500_000, organization=organization, **common
    )
    # This day is in the sums already, so the call is not counted again.
    settled(at(YESTERDAY), cost=3_000_000, model="dear", input_tokens=1000, output_tokens=100)
    answered = {"model": "asked", "answered_by": "dear"}
    settled(at(TODAY), cost=345_678, organization=organization, input_tokens=20, output_tokens=5, **answered)
    settled(at(TODAY), cost=None, model="nameless", input_tokens=1, output_tokens=1)
    settled(None, cost=None, model="open", input_tokens=10**6)
    page = _page(days="7")
    text = _text(page)
    assert "Cost (USD) 3.845678 6 calls, 2 unpriced" in text
    assert "Tokens 2,227 2,021 in, 206 out" in text
    assert "dear 3 1,020 105 3.345678 87.00 %" in text
    assert "cheap 2 (1 unpriced) 1,000 100 0.500000 13.00 %" in text
    assert "nameless 1 (1 unpriced) 1 1 - 0.00 %" in text
    assert "No organization 3 (1 unpriced) 1,001 101 3.000000 78.01 %" in text
    assert "The Society 3 (1 unpriced) 1,020 105 0.845678 21.99 %" in text
    assert "2 calls had no price and are not in the costs" in text
    charts = _charts(page)
    assert charts["Tokens per day"] == {"Input": [0] * 5 + [2000, 21], "Output": [0] * 5 + [200, 6]}
    assert charts["Cost per day (USD)"] == {"dear": [0] * 5 + [3.0, 0.345678], "cheap": [0] * 5 + [0.5, 0]}
    with override_settings(PRICE_CURRENCY="EUR"):
        assert "Cost (EUR)" in _page()


def test_many_models_are_summed_up_behind_those_that_cost_the_most() -> None:
    for number in range(13):
        settled(at(TODAY), cost=number + 1, model=f"model-{number}", input_tokens=2, output_tokens=1)
    text = _text(_page())
    assert "model-12 1 2 1 0.000013" in text
    assert "model-3 1 2 1 0.000004" in text
    assert "model-2 " not in text
    assert "3 others 3 6 3 0.000006" in text


def _spend(subject: User | Organization, month_tokens: int, day_tokens: int = 0, month: date = MONTH) -> None:
    name = type(subject).__name__.lower()
    Spending.objects.create(**{name: subject}, month=month, month_tokens=month_tokens, day=TODAY, day_tokens=day_tokens)


def _limit(subject: User | Organization, period: str, limit: int | None) -> None:
    Budget.objects.create(**{type(subject).__name__.lower(): subject}, period=period, token_limit=limit)


def test_budgets_nearing_their_end_are_told_the_fullest_first() -> None:
    usual, full, daily, few, free, earlier, nothing = (make_user(name) for name in "abcdefg")
    team = Organization.objects.create(name="team")
    _spend(usual, 850)  # 85 % of the default
    _limit(full, "month", 2000)
    _spend(full, 2500)
    _limit(daily, "day", 100)
    _spend(daily, 90, 90)
    _limit(few, "month", 2000)  # the usage is below NEAR of this budget, although above the default
    _spend(few, 1500)
    _limit(free, "month", None)
    _spend(free, 10**9)
    _spend(earlier, 10**9, month=MONTH - timedelta(days=30))
    _limit(nothing, "month", 0)
    _spend(nothing, 0)
    _limit(team, "month", 1000)
    _spend(team, 800)
    with override_settings(MONTHLY_TOKEN_LIMIT=1000):
        found = [(budget.name, budget.period, budget.limit, budget.used) for budget in near_budgets(now=NOW)]
        page = _page()
    assert found == [
        (full.email, "month", 2000, 2500),
        (daily.email, "day", 100, 90),
        (usual.email, "month", 1000, 850),
        ("team", "month", 1000, 800),
    ]
    assert f"{full.email} user, per month 2,500 of 2,000 tokens, 125 %" in _text(page)
    assert f'href="/admin/accounts/user/{full.pk}/change/"' in page
    assert f'href="/admin/accounts/organization/{team.pk}/change/"' in page
    with override_settings(MONTHLY_TOKEN_LIMIT=0):
        assert usual.email not in [budget.name for budget in near_budgets(now=NOW)]


def test_of_many_full_budgets_the_ten_fullest_are_told() -> None:
    users = [make_user() for _ in range(12)]
    for number, user in enumerate(users):
        _spend(user, 900 + number)
    with override_settings(MONTHLY_TOKEN_LIMIT=1000):
        assert [budget.used for budget in near_budgets(now=NOW)] == list(range(911, 901, -1))


def test_figures_are_for_those_who_may_see_the_ledger() -> None:
    _traffic()
    seeing = make_user("seeing", permissions=("view_ledgerentry",), is_staff=True)
    page = _page(seeing)
    assert "Cost per day" in page
    blind = make_user("blind", permissions=("view_user", "view_hourlyusage"), is_staff=True)
    page = _page(blind)
    assert "Cost per day" not in page
    assert "/admin/accounts/user/" in page


def test_who_may_not_see_users_gets_no_links_to_them() -> None:
    user = make_user("spender")
    _spend(user, 950)
    seeing = make_user("seeing", permissions=("view_ledgerentry", "view_budget"), is_staff=True)
    with override_settings(MONTHLY_TOKEN_LIMIT=1000):
        page = _page(seeing)
    assert user.email in page
    assert f"/admin/accounts/user/{user.pk}/" not in page
