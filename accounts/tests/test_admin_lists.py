"""Lists cost the same whatever their number of rows. In this process, where Django's queries can be seen."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AuditEvent, Organization, Session, User
from accounts.tests.staff import make_user
from conversations.models import Todo
from edgechat import admin_pages
from usage.models import Budget, HourlyUsage, LedgerEntry, RequestRecord

ROWS = 60  # more than a page


def _users() -> list[User]:
    return User.objects.bulk_create([User(email=f"{uuid.uuid4().hex}@example.com", password="!") for _ in range(ROWS)])


def _sessions(users: list[User]) -> None:
    later = timezone.now() + timedelta(days=3000)
    Session.objects.bulk_create([Session(user=user, expires_at=later) for user in users])


def _audit_events(users: list[User]) -> None:
    AuditEvent.objects.bulk_create([AuditEvent(event="login", user_id=user.pk, actor_id=user.pk) for user in users])


def _hours(users: list[User]) -> None:
    HourlyUsage.objects.bulk_create([HourlyUsage(user=user, hour=timezone.now()) for user in users])


def _requests(users: list[User]) -> None:
    now = timezone.now()
    RequestRecord.objects.bulk_create(
        [RequestRecord(user=user, at=now, method="GET", route="r", status=200, milliseconds=1) for user in users]
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


def _todos(users: list[User]) -> None:
    Todo.objects.bulk_create([Todo(owner=user, title="listed") for user in users])


def _nothing_more(users: list[User]) -> None:
    pass


LISTS: dict[str, Callable[[list[User]], None]] = {
    "accounts/user": _nothing_more,
    "accounts/session": _sessions,
    "accounts/auditevent": _audit_events,
    "usage/hourlyusage": _hours,
    "usage/requestrecord": _requests,
    "usage/ledgerentry": _ledger,
    "usage/budget": _budgets,
    "conversations/todo": _todos,
}


def _browser() -> Client:
    browser = Client(headers={"X-Forwarded-For": "10.200.0.1"})
    browser.force_login(make_user("root", is_staff=True, is_superuser=True))
    return browser


def _queries(path: str, **query: Any) -> list[str]:
    browser = _browser()
    with CaptureQueriesContext(connection) as captured:
        answer = browser.get(f"/admin/{path}/", query)
    assert answer.status_code == 200
    return [query["sql"] for query in captured.captured_queries]


@pytest.mark.parametrize("path", LISTS)
def test_a_page_of_rows_takes_few_queries_and_none_counts_the_whole_table(path: str) -> None:
    users = _users()
    LISTS[path](users)
    queries = _queries(path)
    assert len(queries) <= 10, "\n".join(queries)
    counts = [sql for sql in queries if "COUNT(" in sql]
    assert len(counts) == 1
    assert f"LIMIT {admin_pages.MAX_COUNTED + 1}" in counts[0]


def test_a_long_list_says_that_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    _users()
    monkeypatch.setattr(admin_pages, "MAX_COUNTED", 55)
    page = _browser().get("/admin/accounts/user/").content.decode()
    assert "and there are more: search or filter for them" in page
    assert _browser().get("/admin/accounts/user/?p=2").status_code == 200
    shown = _browser().get("/admin/accounts/user/", {"q": f"{uuid.uuid4().hex}"}).content.decode()
    assert "and there are more" not in shown
