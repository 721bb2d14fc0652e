"""From the dashboard's figures to the rows behind them, in a separate database and a transaction for each test."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from accounts.models import Organization, User
from accounts.tests.staff import make_user
from conftest import new_address
from usage.models import DailyCost, DailyTraffic, RecorderPosition, RequestRecord
from usage.staff import queries, spans
from usage.tests.sums import at, count, settled

pytestmark = pytest.mark.usefixtures("module_stores")
TODAY = date(2131, 3, 12)  # a Monday
YESTERDAY = TODAY - timedelta(days=1)
ROUTE = "chat/conversations/{conversation_id}/messages"


@pytest.fixture(autouse=True)
def future(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(spans, "now", lambda: at(TODAY))
    with transaction.atomic():
        RecorderPosition.objects.filter(pk=1).update(raw_since=None)
        yield
        transaction.set_rollback(True)


def _browser(user: User | None = None) -> Client:
    browser = Client(headers=new_address())
    browser.force_login(user or make_user("root", is_staff=True, is_superuser=True))
    return browser


def _page(browser: Client, path: str, **query: Any) -> str:
    answer = browser.get(path if path.startswith("/") else f"/admin/{path}", query)
    assert answer.status_code == 200, answer.content.decode()
    return html.unescape(answer.content.decode())


def _text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def _request(
    user: User, clock: str, status: int = 200, day: date = TODAY, milliseconds: int = 20, reason: str = ""
) -> None:
    RequestRecord.objects.create(
        user=user,
        at=at(day, clock),
        method="POST",
        route=ROUTE,
        status=status,
        milliseconds=milliseconds,
        reason=reason,
    )
    count(user, at(day), requests=1, failed=int(status >= 400))


def _rows(page: str) -> int:
    """The number of rows of a list."""
    return len(re.findall(r"<tbody[^>]*>\s*<tr", page.rpartition("result_list")[2]))


def _streamed(answer: Any) -> str:
    assert answer.status_code == 200
    return b"".join(answer.streaming_content).decode()


def _charts(page: str) -> dict[str, Any]:
    found = re.findall(r'aria-label="([^"]*)" data-type="\w+" data-value="(\{.*?\})" data-options', page)
    return {title: json.loads(value) for title, value in found}


def test_who_spent_most_last_week_on_what_and_what_was_refused_is_two_clicks_away() -> None:
    dear, cheap, team = make_user("dear"), make_user("cheap"), Organization.objects.create(name="The Team")
    settled(at(YESTERDAY), cost=3_000_000, model="big", user=dear, input_tokens=10, output_tokens=5, organization=team)
    settled(at(YESTERDAY), cost=1_000_000, model="small", user=dear, input_tokens=1, output_tokens=1)
    settled(at(YESTERDAY), cost=500_000, model="small", user=cheap, input_tokens=1, output_tokens=1)
    settled(at(TODAY), cost=9_000_000, model="big", user=cheap)  # this week
    for clock in ("09:00", "09:10"):
        _request(dear, clock, 429, YESTERDAY, reason="budget_exceeded:organization_month")
    _request(dear, "09:20", 429, YESTERDAY, reason="budget_exceeded:user_day")
    _request(dear, "09:30", 429, YESTERDAY)  # before reasons were recorded
    _request(dear, "09:40", 422, YESTERDAY, reason="content_blocked")
    _request(dear, "10:00", 404, YESTERDAY, reason="not_found")
    _request(dear, "10:05", 500, YESTERDAY, reason="internal_error")
    _request(dear, "10:06", 200, YESTERDAY)
    _request(cheap, "10:00", 200, YESTERDAY)
    browser = _browser()
    assert dear.email not in _page(browser, "", days="90")  # the sums of many days have a page of their own
    assert dear.email in _page(browser, "usage/ledgerentry/users/", days="90")
    week = re.search(r'href="(\?[^"]*)">Last week<', _page(browser, ""))
    assert week
    first = _page(browser, f"/admin/{week[1]}")
    reasons = "5 3 × budget_exceeded 1 × without a code 1 × content_blocked"
    assert f"{dear.email} 8 {reasons} 7 2 11 6 4.000000 88.89 %" in _text(first)
    assert first.index(dear.email) < first.index(cheap.email)
    link = re.search(rf'href="([^"]*)">{re.escape(dear.email)}<', first)
    assert link
    page = _page(browser, link[1])
    text = _text(page)
    assert (
        f"{dear.email} : cost 4.000000 for 2 calls, 8 requests, refused 5 times : 2 × budget_exceeded (Budget" in text
    )
    assert "1 × budget_exceeded (Budget of the user, day)" in text
    assert "Chat big 1 10 5 3.000000 75.00 %" in text
    assert "Chat small 1 1 1 1.000000 25.00 %" in text
    assert "The Team 1 10 5 3.000000 75.00 %" in text
    organization = "429 Too Many Requests Budget of the organization, month"
    assert f"{organization} POST /{ROUTE} 2 2131-03-11 09:10:00 UTC" in text
    for address, numbers in (
        ("budget_exceeded%3Aorganization_month", 2),
        ("budget_exceeded%3Auser_day", 1),
        ("content_blocked", 1),
        ("unknown", 1),
    ):
        refused = re.search(rf'href="([^"]*status=refused&reason={address})"', page)
        assert refused, address
        rows = _page(browser, refused[1])
        assert _rows(rows) == numbers
        assert cheap.email not in _text(rows.split("<tbody")[-1])
    of_budgets = re.search(r'href="([^"]*status=refused&reason=budget_exceeded)"', first)
    assert of_budgets
    assert _rows(_page(browser, of_budgets[1])) == 3
    file = browser.get("/admin/usage/ledgerentry/users.csv", {"from": str(YESTERDAY), "to": str(YESTERDAY)})
    [line] = [line for line in _streamed(file).splitlines() if dear.email in line]
    assert "2 × budget_exceeded:organization_month" in line
    assert cheap.email in _page(browser, "usage/ledgerentry/users/", **{"from": str(YESTERDAY), "to": str(YESTERDAY)})


def test_days_are_chosen_freely_and_wrong_ones_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = _browser()
    monkeypatch.setattr(queries, "costs_until", lambda: TODAY + timedelta(days=1))
    for day, cost in ((YESTERDAY, 2_000_000), (TODAY, 5_000_000)):
        DailyCost.objects.create(
            date=day, model="m", calls=1, unpriced_calls=0, input_tokens=1, output_tokens=1, cost_micros=cost
        )
    for ago, requests in enumerate((1, 10, 100)):
        DailyTraffic.objects.create(date=TODAY - timedelta(days=ago), requests=requests, latencies=[])
    page = _page(browser, "", **{"from": str(TODAY - timedelta(days=2)), "to": str(YESTERDAY)})
    assert "Requests 110 10 on Mar 11" in _text(page)
    assert "Cost (USD) 2.000000 1 call Tokens" in _text(page)
    assert _charts(page)["Requests per day"]["labels"] == ["Mar 10", "Mar 11"]
    wrong = {"from": "x"}, {"from": "2131-03-13"}, {"from": "2131-03-02", "to": "2131-03-01"}, {"from": "2100-01-01"}
    for query in wrong:
        page = _page(browser, "", **query)
        assert 'role="alert"' in page
        assert len(_charts(page)["Requests per day"]["labels"]) == 30


def test_one_day_is_shown_by_its_hours() -> None:
    one, other = make_user(), make_user()
    DailyTraffic.objects.create(date=TODAY, requests=4, client_errors=1, active_users=2, latencies=[])
    for user, clock, status in ((one, "08:10", 200), (one, "08:20", 404), (other, "08:30", 200), (one, "11:00", 200)):
        _request(user, clock, status)
    settled(at(TODAY, "08:30"), cost=1_500_000, model="m", input_tokens=7, output_tokens=2)
    charts = _charts(_page(_browser(), "", **{"from": str(TODAY), "to": str(TODAY)}))

    def values(title: str, number: int = 0) -> dict[str, Any]:
        pairs = zip(charts[title]["labels"], charts[title]["datasets"][number]["data"], strict=True)
        return {label: value for label, value in pairs if value}

    assert len(charts["Requests per hour"]["labels"]) == 24
    assert values("Requests per hour") == {"8:00": 3, "11:00": 1}
    assert values("Active users per hour") == {"8:00": 2, "11:00": 1}
    assert values("Errors per hour") == {"8:00": 1}
    assert values("Cost per hour (USD)") == {"8:00": 1.5}
    assert values("Tokens per hour") == {"8:00": 7}
    assert values("Latency per hour (ms)").keys() == {"8:00", "11:00"}
    RecorderPosition.objects.filter(pk=1).update(raw_since=at(TODAY, "09:00"))
    assert "Requests per day" in _charts(_page(_browser(), "", **{"from": str(TODAY), "to": str(TODAY)}))


def test_every_number_of_a_chart_leads_to_its_rows() -> None:
    user = make_user()
    DailyTraffic.objects.create(date=TODAY, requests=2, client_errors=1, active_users=1, latencies=[0, 0, 2])
    _request(user, "08:10", 200)
    _request(user, "08:20", 404)
    _request(user, "08:20", 200, YESTERDAY)
    settled(at(TODAY), cost=7, model="m", user=user, input_tokens=7, output_tokens=2)
    browser = _browser()
    page = _page(browser, "")
    tables = re.findall(r'class="dashboard-rows.*?</table>', page, re.DOTALL)
    links = [url for table in tables for url in re.findall(r'href="([^"]*)"', table)]
    assert len(links) == 9  # requests, 2 of tokens, users, cost, errors, 3 of latency
    for url in {*links, *re.findall(r'href="(/admin/usage/[^"]*(?:at__gte|settled_at__gte|from=)[^"]*)"', page)}:
        if ".csv" not in url:
            assert user.email in _page(browser, url), url
    assert "2131-03-11" not in re.sub(r"\s", "", _page(browser, links[0])).split("<tbody")[-1]


def test_staff_without_the_right_see_nothing_of_requests_and_budgets() -> None:
    DailyTraffic.objects.create(date=TODAY, requests=2, client_errors=1, active_users=1, latencies=[0, 0, 2])
    user = make_user()
    _request(user, "08:20", 429, reason="budget_exceeded:user_day")
    settled(at(TODAY), cost=7, model="m", user=user)
    ledger = _browser(make_user("seeing", permissions=("view_ledgerentry",), is_staff=True))
    own = f"usage/ledgerentry/users/{user.pk}/"
    for path in ("", "usage/ledgerentry/users/", own):
        page = _page(ledger, path, days="7")
        assert user.email in page
        for told in ("Requests per", "Error rate", "Refused", "Failed requests", "budget_exceeded", "nearing"):
            assert told not in page, (path, told)
        assert "/admin/usage/requestrecord/?" not in page
    for slug, status in (("requests", 403), ("users", 403), ("errors", 403), ("latency", 403), ("cost", 200)):
        assert ledger.get(f"/admin/usage/ledgerentry/charts/{slug}.csv").status_code == status
    assert "Refused" not in _streamed(ledger.get("/admin/usage/ledgerentry/users.csv"))
    traffic = ("view_ledgerentry", "view_dailytraffic", "view_budget")
    page = _page(_browser(make_user("sums", permissions=traffic, is_staff=True)), "", days="7")
    assert "Requests per day" in page
    assert "Budgets nearing their end" in page
    assert "Refused" not in page
    assert "Failed requests" in _page(_browser(), own, days="7")
    blind = _browser(make_user("blind", permissions=("view_requestrecord",), is_staff=True))
    for path in ("users/", "users.csv", f"users/{make_user().pk}/", "charts/requests.csv"):
        assert blind.get(f"/admin/usage/ledgerentry/{path}").status_code == 403
