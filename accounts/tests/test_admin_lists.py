"""The cost of a list does not depend on its number of rows. Runs in this process to count Django's queries."""

from __future__ import annotations

import html
import re
import uuid
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import ApiKey, AuditEvent, Organization, Session, User
from accounts.staff import pages as staff_pages
from accounts.tests.staff import make_user
from conftest import new_address
from conversations.models import Conversation, Todo
from usage.models import (
    Budget,
    DailyTraffic,
    EarlyRefusal,
    HourlyUsage,
    LedgerEntry,
    ModelPrice,
    OrganizationUsage,
    RequestRecord,
    Spending,
)

ROWS = 60  # more than one page


def _users() -> list[User]:
    return User.objects.bulk_create([User(email=f"{uuid.uuid4().hex}@example.com", password="!") for _ in range(ROWS)])


def _sessions(users: list[User]) -> None:
    later = timezone.now() + timedelta(days=3000)
    Session.objects.bulk_create([Session(user=user, expires_at=later) for user in users])


def _api_keys(users: list[User]) -> None:
    ApiKey.objects.bulk_create([ApiKey(user=user, name="k", digest=uuid.uuid4().hex, scopes=["ai"]) for user in users])


def _audit_events(users: list[User]) -> None:
    AuditEvent.objects.bulk_create([AuditEvent(event="login", user_id=user.pk, actor_id=user.pk) for user in users])


def _hours(users: list[User]) -> None:
    HourlyUsage.objects.bulk_create([HourlyUsage(user=user, hour=timezone.now()) for user in users])


def _requests(users: list[User]) -> None:
    now = timezone.now()
    RequestRecord.objects.bulk_create(
        [RequestRecord(user=user, at=now, method="GET", route="r", status=200, milliseconds=1) for user in users]
    )


def _early_refusals(users: list[User]) -> None:
    EarlyRefusal.objects.bulk_create(
        [EarlyRefusal(user=user, hour=timezone.now(), status=429, reason="rate_limited", requests=1) for user in users]
    )


def _ledger(users: list[User]) -> None:
    organizations = Organization.objects.bulk_create([Organization(name="listed") for _ in users])
    LedgerEntry.objects.bulk_create(
        [
            LedgerEntry(
                attempt_id=uuid.uuid4().hex,
                user=user,
                organization=organization,
                purpose="chat",
                model="m",
                abandoned_after=timezone.now(),
                settled_at=timezone.now(),
            )
            for user, organization in zip(users, organizations, strict=True)
        ]
    )


def _budgets(users: list[User]) -> None:
    Budget.objects.bulk_create([Budget(user=user, token_limit=1) for user in users])


def _organization_usage(users: list[User]) -> None:
    organization, hour = Organization.objects.create(name="listed"), timezone.now()
    OrganizationUsage.objects.bulk_create(
        [OrganizationUsage(organization=organization, user=user, hour=hour) for user in users]
    )


def _spending(users: list[User]) -> None:
    today = timezone.now().date()
    Spending.objects.bulk_create([Spending(user=user, month=today.replace(day=1), day=today) for user in users])


def _daily_traffic(users: list[User]) -> None:
    """Rows for days that no other test uses. They may exist from an earlier run."""
    days = [date(1900, 1, 1) + timedelta(days=number) for number in range(len(users))]
    rows = [DailyTraffic(date=day, latencies=[]) for day in days]
    DailyTraffic.objects.bulk_create(rows, ignore_conflicts=True)


def _prices(users: list[User]) -> None:
    prices = [ModelPrice(model=user.email, input_micros=1, cached_input_micros=1, output_micros=1) for user in users]
    ModelPrice.objects.bulk_create(prices)


def _organizations(users: list[User]) -> None:
    Organization.objects.bulk_create([Organization(name=user.email) for user in users])


def _groups(users: list[User]) -> None:
    Group.objects.bulk_create([Group(name=user.email) for user in users])


def _todos(users: list[User]) -> None:
    Todo.objects.bulk_create([Todo(owner=user, title="listed") for user in users])


def _nothing_more(users: list[User]) -> None:
    pass


LISTS: dict[str, Callable[[list[User]], None]] = {
    "accounts/user": _nothing_more,
    "accounts/session": _sessions,
    "accounts/apikey": _api_keys,
    "accounts/auditevent": _audit_events,
    "accounts/organization": _organizations,
    "auth/group": _groups,
    "usage/hourlyusage": _hours,
    "usage/requestrecord": _requests,
    "usage/earlyrefusal": _early_refusals,
    "usage/ledgerentry": _ledger,
    "usage/budget": _budgets,
    "usage/organizationusage": _organization_usage,
    "usage/spending": _spending,
    "usage/dailytraffic": _daily_traffic,
    "usage/modelprice": _prices,
    "conversations/todo": _todos,
}

# Filters without choices, to which other pages link.
LINKED = {"usage/requestrecord": ("?user=1", "?route=r", "?status=429"), "usage/ledgerentry": ("?user=1", "?model=m")}


def _browser() -> Client:
    browser = Client(headers=new_address())
    browser.force_login(make_user("root", is_staff=True, is_superuser=True))
    return browser


def _queries(path: str, **query: Any) -> list[str]:
    browser = _browser()
    with CaptureQueriesContext(connection) as captured:
        answer = browser.get(f"/admin/{path}", query)
    assert answer.status_code == 200
    return [query["sql"] for query in captured.captured_queries]


@pytest.mark.parametrize("path", LISTS)
def test_a_page_of_rows_takes_few_queries_and_none_counts_the_whole_table(path: str) -> None:
    users = _users()
    LISTS[path](users)
    queries = _queries(f"{path}/")
    assert len(queries) <= 10, "\n".join(queries)
    counts = [sql for sql in queries if "COUNT(" in sql]
    assert len(counts) == 1
    assert f"LIMIT {staff_pages.MAX_COUNTED + 1}" in counts[0]


def test_every_list_is_looked_at_here() -> None:
    """Except conversations, which are in MongoDB and have their own pages."""
    registered = {f"{model._meta.app_label}/{model._meta.model_name}" for model in admin.site._registry}
    assert registered - {f"conversations/{Conversation._meta.model_name}"} == set(LISTS)


@pytest.mark.parametrize("path", LISTS)
def test_a_page_of_one_row_takes_as_many_queries(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    LISTS[path](_users())
    many = len(_queries(f"{path}/"))
    monkeypatch.setattr(staff_pages.StaffModelAdmin, "list_per_page", 1)
    assert len(_queries(f"{path}/")) == many


@pytest.mark.parametrize("path", LISTS)
def test_each_filter_a_search_and_the_next_page_take_as_few(path: str) -> None:
    users = _users()
    LISTS[path](users)
    browser = _browser()
    page = browser.get(f"/admin/{path}/").content.decode()
    offered = {link.partition("=")[0]: link for link in map(html.unescape, re.findall(r'href="(\?[^"]+=[^"]+)"', page))}
    addresses = [*offered.values(), "?p=2", f"?q={users[0].email}", *LINKED.get(path, ())]
    for address in addresses:
        with CaptureQueriesContext(connection) as captured:
            answer = browser.get(f"/admin/{path}/{address}")
        assert answer.status_code == 200, address
        assert len(captured) <= 12, (address, [query["sql"] for query in captured.captured_queries])


def test_the_first_page_and_a_users_page_take_few_queries() -> None:
    users = _users()
    for fill in (_sessions, _hours, _ledger, _budgets, _spending):
        fill(users)
    # 2 for the session, 7 for the span (the durations of replies come from the entries themselves), 3 for the users.
    assert len(_queries("")) <= 12
    assert len(_queries("conversations/conversation/")) <= 10
    assert len(_queries(f"accounts/user/{users[0].pk}/change/")) < 20
    assert len(_queries(f"accounts/user/{users[0].pk}/set-budget/")) < 20
    assert len(_queries("usage/ledgerentry/users/")) <= 8
    assert len(_queries(f"usage/ledgerentry/users/{users[0].pk}/")) <= 10
    assert len(_queries("usage/requestrecord/find/", q="example.com")) <= 15
    assert len(_queries("conversations/conversation/quality/")) <= 10


def test_a_long_list_says_that_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    _users()
    monkeypatch.setattr(staff_pages, "MAX_COUNTED", 55)
    page = _browser().get("/admin/accounts/user/").content.decode()
    assert "search or filter to see the others" in page
    assert _browser().get("/admin/accounts/user/?p=2").status_code == 200
    shown = _browser().get("/admin/accounts/user/", {"q": f"{uuid.uuid4().hex}"}).content.decode()
    assert "and there are more" not in shown


def test_the_times_of_lists_have_their_zone() -> None:
    user = _users()[0]
    session = Session.objects.create(user=user, expires_at=timezone.now() + timedelta(days=3000))
    page = _browser().get("/admin/accounts/session/", {"q": user.email}).content.decode()
    assert f"{session.last_used_at:%Y-%m-%d} " in page
    assert " UTC<" in page.replace(" </", "</")
