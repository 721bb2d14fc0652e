"""Requests that are refused before their user is checked are summed up, and staff find them."""

from __future__ import annotations

import random
import re
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import django.db
import httpx2
import pytest

import conftest
from accounts.tests.staff import helper, make_user
from conftest import Person
from edgechat.http import refusals as counted
from edgechat.http.refusals import Refusal
from edgechat.tests.web_settings import SMALL, STRICT
from usage.models import EarlyRefusal, RequestRecord
from usage.requests import refusals

Eventually = Callable[..., Any]


def _address() -> str:
    return f"2001:db8:{random.SystemRandom().randrange(1, 65536):x}:{random.SystemRandom().randrange(1, 65536):x}::9"


def _ask(url: str, path: str, address: str, method: str = "GET", **headers: str) -> httpx2.Response:
    return conftest.ask(method, f"{url}{path}", headers={"X-Forwarded-For": address, **headers})


def _hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def _sums(since: datetime) -> Counter[tuple[int, str, str]]:
    """The sums of requests without a user, which other tests add to at the same time."""
    rows = EarlyRefusal.objects.filter(hour__gte=since, user=None).values_list("status", "reason", "route", "requests")
    found: Counter[tuple[int, str, str]] = Counter()
    for status, reason, route, number in rows:
        found[status, reason, route] += number
    return found


def test_requests_beyond_the_limit_of_an_address_are_those_of_the_user_whose_token_they_carry(
    alice: Person, web_url: str, web_with: Callable[..., str], eventually: Eventually
) -> None:
    url, address = web_with(**STRICT), _address()
    token = {"Authorization": f"Bearer {alice.tokens['access_token']}"}
    answers = [_ask(url, "/api/v1/auth/me", address, **token) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    refresh = {"Authorization": f"Bearer {alice.tokens['refresh_token']}"}
    assert _ask(url, "/api/v1/auth/me", address, **refresh).status_code == 429  # names nobody here
    rows = EarlyRefusal.objects.filter(user_id=alice.id).values_list("status", "reason", "route", "requests")
    eventually(lambda: sum(row[3] for row in rows.all()) == 3)
    assert {row[:3] for row in rows.all()} == {(429, "rate_limited:address", "")}
    eventually(lambda: RequestRecord.objects.filter(user_id=alice.id, route__endswith="me").count() >= 5)
    assert not RequestRecord.objects.filter(user_id=alice.id, status=429).exists()
    with helper(web_url, "view_ledgerentry", "view_requestrecord") as staff:
        page = staff.get(f"usage/ledgerentry/users/{alice.id}/").text
        assert "refused 3 times" in page
        [link] = set(re.findall(r'href="([^"]*earlyrefusal[^"]*reason=[^"]*)"', page))
        listed = staff.get(f"{web_url}{unescape(link)}").text
        file = staff.get("usage/earlyrefusal/export.csv", params={"user": alice.id}).text.splitlines()
    assert "Rate limit of an address" in listed
    assert alice.email in listed
    assert file[0] == "Hour,Reason,Status,Route,User,Requests"
    assert all(f",rate_limited:address,429,,{alice.email}," in line for line in file[1:])


def test_refusals_of_nobody_are_counted_by_reason_and_route(
    web_url: str, web_with: Callable[..., str], eventually: Eventually
) -> None:
    since = _hour()
    before = _sums(since)
    strict, small = web_with(**STRICT), web_with(**SMALL)
    expected: Counter[tuple[int, str, str]] = Counter()

    def refuse(status: int, reason: str, route: str, times: int, *asked: str, **headers: str) -> None:
        url, path, method = asked
        address = _address()
        for _ in range(times):
            assert _ask(url, path, address, method, **headers).status_code == status
        expected[status, reason, route] += times

    refuse(404, "not_found", "", 2, web_url, f"/{uuid.uuid4().hex}", "GET")
    refuse(401, "not_authenticated", "api/v1/auth/me", 2, web_url, "/api/v1/auth/me", "GET")
    refuse(401, "not_authenticated", "api/v1/usage/me", 1, web_url, "/api/v1/usage/me", "GET", Authorization="Bearer x")
    refuse(400, "malformed_request:host", "", 2, strict, "/api/v1/auth/me", "GET", Host="wrong.example.com")
    address = _address()
    answers = [_ask(small, "/api/v1/auth/login", address, "POST").status_code for _ in range(5)]
    assert answers == [422] * 3 + [429] * 2
    expected[422, "validation_error", "api/v1/auth/login"] += 3
    expected[429, "rate_limited:address_strict", "api/v1/auth/login"] += 2
    address = _address()
    assert [_ask(strict, "/", address).status_code for _ in range(9)] == [200] * 5 + [429] * 4
    expected[429, "rate_limited:address", ""] += 4
    eventually(lambda: expected <= _sums(since) - before)
    with helper(web_url, "view_ledgerentry", "view_requestrecord") as staff:
        board = staff.get("", params={"days": 7}).text.partition("Refused before the user was checked")[2]
        for words in ("Rate limit of an address", "Wrong host", "No valid access token", "Not found"):
            assert words in board
        link = next(link for link in re.findall(r'href="([^"]*)"', board) if "reason=malformed_request" in link)
        assert "Wrong host" in staff.get(f"{web_url}{unescape(link)}").text
        assert "early refusals" in staff.get("usage/requestrecord/find/", params={"q": uuid.uuid4().hex}).text
        assert staff.get("usage/earlyrefusal/add/").status_code == 403
    with helper(web_url, "view_ledgerentry") as staff:
        assert staff.get("usage/earlyrefusal/").status_code == 403
        assert "Refused before the user was checked" not in staff.get("").text


@pytest.fixture
def own_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """This test counts for itself: requests of Django's test client are counted in this process too."""
    monkeypatch.setattr(counted, "_counted", Counter())


def test_a_flood_of_different_refusals_takes_bounded_memory(own_counts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "MAX_KINDS", 3)
    for number in range(50):
        counted.count_refusal(429, "rate_limited:address", user_id=number + 1)
    taken = counted.take_refusals()
    assert len(taken) == 4
    assert sum(taken.values()) == 50
    assert counted.take_refusals() == {}


def test_what_could_not_be_stored_is_stored_later_and_added_up(
    own_counts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user()
    counted.count_refusal(429, "rate_limited:address", user_id=user.pk)
    with monkeypatch.context() as broken:
        broken.setattr(refusals, "_ADD", "SELECT nothing FROM nowhere WHERE %(hours)s IS NULL")
        with pytest.raises(django.db.ProgrammingError):
            refusals.store_refusals()
        refusals.flush_refusals()  # never raises
    counted.count_refusal(429, "rate_limited:address", user_id=user.pk)
    counted.count_refusal(429, "rate_limited:address", user_id=2**62)  # an account that is deleted
    refusals.store_refusals()
    counted.restore_refusals({Refusal(int(_hour().timestamp()) // 3600, 429, "rate_limited:address", "", user.pk): 5})
    refusals.store_refusals()
    assert sum(EarlyRefusal.objects.filter(user=user).values_list("requests", flat=True)) == 7
    assert not EarlyRefusal.objects.filter(user_id=2**62).exists()


def test_old_sums_are_deleted() -> None:
    user = make_user()
    for age in (9, 1001):
        EarlyRefusal.objects.create(
            user=user, hour=_hour() - timedelta(days=age), status=429, reason="rate_limited:address", requests=1
        )
    # Web processes delete the older one too.
    assert refusals.count_old_refusals(before=_hour() - timedelta(days=8)) >= 1
    list(refusals.delete_old_refusals(before=_hour() - timedelta(days=1000)))
    assert [row.hour for row in EarlyRefusal.objects.filter(user=user)] == [_hour() - timedelta(days=9)]
