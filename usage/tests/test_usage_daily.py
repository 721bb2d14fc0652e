"""GET /usage/me/daily."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from conftest import Api, Person, assert_error
from usage.models import HourlyUsage
from usage.reports import queries as reports
from usage.tests.test_usage_me import REGISTERED, written


def today() -> date:
    return datetime.now(UTC).date()


def days_of(person: Person, **query: Any) -> list[dict[str, Any]]:
    answer = person.get("usage/me/daily", params=query)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body) == ["days"]
    days: list[dict[str, Any]] = body["days"]
    return days


def expected(day: date, requests: int = 0, given: int = 0, written_: int = 0) -> dict[str, Any]:
    return {
        "date": str(day),
        "requests": requests,
        "input": given,
        "output": written_,
        "total": given + written_,
    }


def test_there_is_an_entry_for_each_day_the_oldest_first_and_today_last(
    alice: Person, eventually: Callable[..., Any]
) -> None:
    eventually(lambda: written(alice) == REGISTERED)
    HourlyUsage.objects.filter(user_id=alice.id).delete()
    last = today()
    for age, hour, requests in ((0, 0, 1), (1, 23, 10), (1, 0, 100), (6, 0, 1000), (7, 23, 10_000)):
        start = datetime.combine(last - timedelta(days=age), time(hour), UTC)
        HourlyUsage.objects.create(
            user_id=alice.id, hour=start, requests=requests, input_tokens=2 * requests, output_tokens=3 * requests
        )
    week = [(6, 1000), (5, 0), (4, 0), (3, 0), (2, 0), (1, 110), (0, 1)]
    days = days_of(alice, days=7)
    if today() != last:  # midnight has passed, and the oldest day is gone
        assert [day["requests"] for day in days[:-1]] == [requests for _, requests in week[1:]]
        return
    assert days == [expected(last - timedelta(days=age), n, 2 * n, 3 * n) for age, n in week]
    assert days_of(alice, days=1) == [{**expected(last, 1, 2, 3), "requests": 2}]  # includes the previous request


@pytest.mark.parametrize("count", [1, 2, 366])
def test_it_has_as_many_days_as_asked(alice: Person, count: int) -> None:
    days = days_of(alice, days=count)
    assert len(days) == count
    dates = [date.fromisoformat(day["date"]) for day in days]
    assert dates == [dates[-1] - timedelta(days=age) for age in reversed(range(count))]
    assert dates[-1] in (today(), today() - timedelta(days=1))


def test_without_a_number_it_is_thirty_days(alice: Person) -> None:
    assert len(days_of(alice)) == 30


def test_each_request_counts_as_soon_as_it_was_answered(alice: Person) -> None:
    for asked in range(3):
        assert sum(day["requests"] for day in days_of(alice, days=2)) == REGISTERED + asked


def test_nobody_sees_anothers_days(alice: Person, bob: Person) -> None:
    yesterday = today() - timedelta(days=1)  # in the first hour of a day there is a row of today
    HourlyUsage.objects.create(user_id=alice.id, hour=datetime.combine(yesterday, time(12), UTC), input_tokens=50)
    assert sum(day["total"] for day in days_of(bob, days=2)) == 0


def test_months_and_leap_days_are_whole() -> None:
    days = reports.daily_usage(0, days=3, now=datetime(2028, 3, 1, 0, 0, tzinfo=UTC))
    assert [str(day["date"]) for day in days] == ["2028-02-28", "2028-02-29", "2028-03-01"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0", "Ensure this value is greater than or equal to 1."),
        ("367", "Ensure this value is less than or equal to 366."),
        ("-1", "Ensure this value is greater than or equal to 1."),
        ("x", "A valid integer is required."),
        ("1.5", "A valid integer is required."),
        ("9" * 2000, "String value too large."),
    ],
    ids=["0", "367", "-1", "a word", "1.5", "2000 digits"],
)
def test_other_numbers_of_days_are_refused(alice: Person, value: str, message: str) -> None:
    answer = alice.get("usage/me/daily", params={"days": value})
    errors = [{"field": "query.days", "message": message}]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


def test_it_needs_a_token(anonymous: Api) -> None:
    assert_error(anonymous.get("usage/me/daily"), 401, "not_authenticated", "Not authenticated")
