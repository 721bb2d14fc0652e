"""manage.py rebuild_usage, in a separate database, because it counts all users."""

from __future__ import annotations

import importlib
import io
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from accounts.models import Organization, User
from accounts.tests.staff import make_user
from conftest import Person
from edgechat.local.web import WebServer
from edgechat.tests.own_stores import OwnStores
from usage import rebuild
from usage.models import (
    DailyCost,
    DailyTraffic,
    HourlyUsage,
    LedgerEntry,
    OrganizationUsage,
    RecorderPosition,
    RequestRecord,
    Spending,
    UserDay,
)
from usage.reports.latency import BUCKETS, bucket_of

NAMES = ("hourly usage", "organization usage", "days of users", "daily traffic", "daily cost", "spending")
OLD = datetime(2026, 3, 5, 10, 20, tzinfo=UTC)
HOUR = OLD.replace(minute=0)


@pytest.fixture(autouse=True)
def _empty(module_stores: OwnStores) -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE accounts_user, accounts_organization, usage_dailytraffic, usage_dailycost CASCADE")
    RecorderPosition.objects.update_or_create(pk=1, defaults={"last_id": "0-0", "raw_since": None, "costs_until": None})


def ask(user: User, at: datetime, *, status: int = 200, milliseconds: int = 1) -> None:
    RequestRecord.objects.create(
        user=user, at=at, method="GET", route="r", status=status, milliseconds=milliseconds, key=uuid.uuid4().hex
    )


def call_model(user: User | None, at: datetime | None, tokens: tuple[int, int], **fields: Any) -> LedgerEntry:
    values = {"purpose": "chat", "model": "gemini-x", "abandoned_after": OLD, **fields}
    return LedgerEntry.objects.create(
        attempt_id=uuid.uuid4().hex,
        user=user,
        settled_at=at,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        **values,
    )


def run(*options: str) -> list[str]:
    out = io.StringIO()
    call_command("rebuild_usage", *options, stdout=out)
    return out.getvalue().splitlines()


def told(*options: str) -> dict[str, str]:
    """The report of a run on each table, without sums and examples."""
    lines = [line.partition(": ") for line in run(*options) if not line.startswith(" ")]
    return {name: text for name, _, text in lines[:-1]}


def rows() -> dict[str, list[Any]]:
    """The contents of all tables of sums."""
    tokens = ("input_tokens", "output_tokens")
    return {
        "hourly usage": list(
            HourlyUsage.objects.order_by("user", "hour").values_list("user", "hour", "requests", *tokens)
        ),
        "organization usage": list(
            OrganizationUsage.objects.order_by("organization", "user", "hour").values_list(
                "organization", "user", "hour", *tokens
            )
        ),
        "days of users": list(
            UserDay.objects.order_by("user", "date").values_list(
                "user", "date", "requests", "failed", "calls", "unpriced_calls", *tokens, "cost_micros"
            )
        ),
        "daily traffic": list(DailyTraffic.objects.order_by("date").values_list()),
        "daily cost": list(
            DailyCost.objects.order_by("date", "model", "organization").values_list(
                "date", "model", "organization", "calls", "unpriced_calls", *tokens, "cost_micros"
            )
        ),
        "spending": list(
            Spending.objects.order_by("user", "organization").values_list(
                "user", "organization", "month", "month_tokens", "day", "day_tokens", "reserved_tokens"
            )
        ),
    }


def histogram(*milliseconds: int) -> list[int]:
    counts = [0] * BUCKETS
    for each in milliseconds:
        counts[bucket_of(each)] += 1
    return counts


def a_history() -> tuple[dict[str, list[Any]], User, User, Organization]:
    """Requests and calls of two users and an organization, and their sums."""
    ada, bea, organization = make_user("ada"), make_user("bea"), Organization.objects.create(name="Readers")
    ask(ada, OLD, milliseconds=0)
    ask(ada, OLD + timedelta(minutes=39, seconds=59), status=429, milliseconds=70)
    ask(ada, OLD + timedelta(minutes=40), status=503, milliseconds=200_000)
    ask(bea, OLD, milliseconds=70)
    ask(bea, OLD + timedelta(days=1))
    now = timezone.now()
    call_model(ada, OLD, (10, 5), organization=organization, cost_micros=7)
    call_model(ada, OLD, (1, 1), cost_micros=0, model="asked", answered_by="gemini-x")
    call_model(ada, OLD + timedelta(days=1), (3, 2), model="other")
    call_model(None, OLD, (100, 50), organization=organization)
    call_model(bea, now, (20, 4), organization=organization, cost_micros=9)
    call_model(bea, None, (7, 0), organization=organization, reserved_tokens=800)
    call_model(bea, None, (7, 0), reserved_tokens=30)
    RecorderPosition.objects.update(costs_until=now.date())
    today, month = now.date(), now.date().replace(day=1)
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    day = OLD.date()
    following = day + timedelta(days=1)
    return (
        {
            "hourly usage": [
                (ada.pk, HOUR, 2, 11, 6),
                (ada.pk, HOUR + timedelta(hours=1), 1, 0, 0),
                (ada.pk, HOUR + timedelta(days=1), 0, 3, 2),
                (bea.pk, HOUR, 1, 0, 0),
                (bea.pk, HOUR + timedelta(days=1), 1, 0, 0),
                (bea.pk, this_hour, 0, 20, 4),
            ],
            "organization usage": [
                (organization.pk, ada.pk, HOUR, 10, 5),
                (organization.pk, bea.pk, this_hour, 20, 4),
                (organization.pk, None, HOUR, 100, 50),
            ],
            "days of users": [
                (ada.pk, day, 3, 2, 2, 0, 11, 6, 7),
                (ada.pk, following, 0, 0, 1, 1, 3, 2, 0),
                (bea.pk, day, 1, 0, 0, 0, 0, 0, 0),
                (bea.pk, following, 1, 0, 0, 0, 0, 0, 0),
                (bea.pk, today, 0, 0, 1, 0, 20, 4, 9),
                (None, day, 0, 0, 1, 1, 100, 50, 0),
            ],
            "daily traffic": [
                (day, 4, 1, 1, 2, histogram(0, 70, 200_000, 70)),
                (following, 1, 0, 0, 1, histogram(1)),
            ],
            "daily cost": [
                (day, "gemini-x", organization.pk, 2, 1, 110, 55, 7),
                (day, "gemini-x", None, 1, 0, 1, 1, 0),
                (following, "other", None, 1, 1, 3, 2, 0),
            ],
            "spending": [
                (bea.pk, None, month, 24, today, 24, 830),
                (None, organization.pk, month, 24, today, 24, 800),
            ],
        },
        ada,
        bea,
        organization,
    )


def test_sums_are_made_from_nothing_and_a_second_run_finds_nothing() -> None:
    expected, *_ = a_history()
    assert told() == {
        "hourly usage": "6 rows were missing, 0 wrong, 0 too many",
        "organization usage": "3 rows were missing, 0 wrong, 0 too many",
        "days of users": "6 rows were missing, 0 wrong, 0 too many",
        "daily traffic": "2 rows were missing, 0 wrong, 0 too many",
        "daily cost": "3 rows were missing, 0 wrong, 0 too many",
        "spending": "2 rows were missing, 0 wrong, 0 too many",
    }
    assert rows() == expected
    assert told() == dict.fromkeys(NAMES, "as recounted")
    assert run()[-1] == "Nothing differed."
    assert rows() == expected


@pytest.mark.parametrize("table", NAMES)
def test_rows_that_are_wrong_or_missing_or_too_many_are_mended(table: str) -> None:
    expected, ada, bea, organization = a_history()
    run()
    match table:
        case "hourly usage":
            HourlyUsage.objects.filter(user=ada, hour=HOUR).update(requests=9, input_tokens=0, output_tokens=60)
            HourlyUsage.objects.filter(user=bea, hour=HOUR).delete()
            HourlyUsage.objects.create(user=bea, hour=HOUR - timedelta(days=9), requests=3)
        case "organization usage":
            OrganizationUsage.objects.filter(user=ada).update(input_tokens=1)
            OrganizationUsage.objects.filter(user=None).delete()
            OrganizationUsage.objects.create(organization=organization, user=ada, hour=OLD, output_tokens=3)
        case "days of users":
            UserDay.objects.filter(user=ada, date=OLD.date()).update(requests=9, failed=0, cost_micros=1)
            UserDay.objects.filter(user=None).delete()
            UserDay.objects.create(user=None, date="2020-01-01", calls=1)
        case "daily traffic":
            DailyTraffic.objects.filter(date=OLD.date()).update(latencies=histogram(0, 71, 71, 71), active_users=7)
            DailyTraffic.objects.filter(date__gt=OLD.date()).delete()
            DailyTraffic.objects.create(date="2020-01-01", requests=3, latencies=histogram(1, 1, 1))
        case "daily cost":
            DailyCost.objects.filter(organization=organization).update(cost_micros=8)
            DailyCost.objects.filter(model="other").delete()
            values = dict.fromkeys(("calls", "unpriced_calls", "input_tokens", "output_tokens", "cost_micros"), 1)
            DailyCost.objects.create(date="2020-01-01", model="other", **values)
        case _:
            Spending.objects.filter(user=bea).update(month_tokens=1, reserved_tokens=0)
            Spending.objects.filter(organization=organization).delete()
    assert rows() != expected
    many = 0 if table == "spending" else 1
    assert told() == {**dict.fromkeys(NAMES, "as recounted"), table: f"1 rows were missing, 1 wrong, {many} too many"}
    assert rows() == expected
    assert run()[-1] == "Nothing differed."


def test_the_migration_makes_the_days_of_users_that_are_over() -> None:
    expected, *_ = a_history()
    run()
    UserDay.objects.all().delete()
    sum_up = importlib.import_module("usage.migrations.0019_past_user_days").sum_up
    for _ in range(2):  # the second time after an interruption
        sum_up(None, SimpleNamespace(connection=connection))
        assert rows() == expected


def test_it_says_what_differed() -> None:
    _, ada, *_ = a_history()
    run()
    HourlyUsage.objects.filter(user=ada, hour=HOUR).update(requests=9, output_tokens=60)
    DailyTraffic.objects.filter(date=OLD.date()).update(latencies=histogram(1))
    assert run() == [
        "hourly usage: 0 rows were missing, 1 wrong, 0 too many",
        "  requests: 12 -> 5",
        "  input_tokens: 34",
        "  output_tokens: 66 -> 12",
        f"  for example user {ada.pk}, hour 2026-03-05 10h: requests 9 -> 2, output_tokens 60 -> 6",
        "organization usage: as recounted",
        "  input_tokens: 130",
        "  output_tokens: 59",
        "days of users: as recounted",
        "  requests: 5",
        "  failed: 2",
        "  calls: 5",
        "  unpriced_calls: 2",
        "  input_tokens: 134",
        "  output_tokens: 62",
        "  cost_micros: 16",
        "daily traffic: 0 rows were missing, 1 wrong, 0 too many",
        "  requests: 5",
        "  client_errors: 1",
        "  server_errors: 1",
        "  active_users: 3",
        "  for example date 2026-03-05: latencies",
        "daily cost: as recounted",
        "  calls: 4",
        "  unpriced_calls: 2",
        "  input_tokens: 114",
        "  output_tokens: 58",
        "  cost_micros: 7",
        "spending: as recounted",
        "  month_tokens: 48",
        "  month_cost_micros: 18",
        "  day_tokens: 48",
        "  reserved_tokens: 1630",
        "2 rows differed and were corrected.",
    ]


def test_a_dry_run_says_the_same_and_changes_nothing() -> None:
    a_history()
    said = run("--dry-run")
    assert said[-1] == "22 rows differ; nothing was changed."
    assert rows() == {name: [] for name in NAMES}
    assert run()[:-1] == said[:-1]


def test_what_is_older_than_the_request_records_keeps_its_counts() -> None:
    ada = make_user("ada")
    for age in (0, 1, 2):
        ask(ada, OLD - timedelta(hours=age))
    call_model(ada, HOUR - timedelta(days=1), (10, 1))
    day = OLD.date()
    HourlyUsage.objects.create(user=ada, hour=HOUR - timedelta(days=1), requests=1000, input_tokens=3)
    HourlyUsage.objects.create(user=ada, hour=HOUR - timedelta(hours=1), requests=100)
    for age in (0, 1):
        UserDay.objects.create(user=ada, date=day - timedelta(days=age), requests=5000, failed=4, calls=9)
        DailyTraffic.objects.create(date=day - timedelta(days=age), requests=5000, latencies=histogram())
    DailyTraffic.objects.create(date=day + timedelta(days=1), requests=7, latencies=histogram())
    RecorderPosition.objects.update(raw_since=OLD - timedelta(hours=1))  # within an hour, part of which is missing
    run()
    assert rows()["hourly usage"] == [
        (ada.pk, HOUR - timedelta(days=1), 1000, 10, 1),
        (ada.pk, HOUR - timedelta(hours=1), 100, 0, 0),
        (ada.pk, HOUR, 1, 0, 0),
    ]
    assert [row[:2] for row in rows()["daily traffic"]] == [(day - timedelta(days=1), 5000), (day, 5000)]
    assert rows()["days of users"] == [
        (ada.pk, day - timedelta(days=1), 5000, 4, 1, 1, 10, 1, 0),
        (ada.pk, day, 5000, 4, 0, 0, 0, 0, 0),
    ]
    RecorderPosition.objects.update(raw_since=HOUR.replace(hour=0))  # the start of an hour and of a day
    run()
    assert rows()["hourly usage"][1:3] == [
        (ada.pk, HOUR - timedelta(hours=2), 1, 0, 0),
        (ada.pk, HOUR - timedelta(hours=1), 1, 0, 0),
    ]
    assert [row[:2] for row in rows()["daily traffic"]] == [(day - timedelta(days=1), 5000), (day, 3)]
    assert [row[1:5] for row in rows()["days of users"]] == [
        (day - timedelta(days=1), 5000, 4, 1),
        (day, 3, 0, 0),
    ]


def test_costs_are_those_of_the_days_that_were_summed_up() -> None:
    call_model(None, OLD, (10, 1), cost_micros=5)
    call_model(None, OLD + timedelta(days=1), (10, 1), cost_micros=5)
    run()
    assert rows()["daily cost"] == []
    RecorderPosition.objects.update(costs_until=OLD.date() + timedelta(days=1))
    run()
    assert rows()["daily cost"] == [(OLD.date(), "gemini-x", None, 1, 0, 10, 1, 5)]


def test_rows_that_say_together_what_one_would_are_not_wrong() -> None:
    """Such rows exist after an organization was deleted."""
    for _ in range(2):
        call_model(None, OLD, (10, 1), cost_micros=5)
        values = {"calls": 1, "unpriced_calls": 0, "input_tokens": 10, "output_tokens": 1, "cost_micros": 5}
        DailyCost.objects.create(date=OLD.date(), model="gemini-x", **values)
    UserDay.objects.create(user=None, date=OLD.date(), calls=2, input_tokens=20, output_tokens=2, cost_micros=10)
    RecorderPosition.objects.update(costs_until=OLD.date() + timedelta(days=1))
    assert run()[-1] == "Nothing differed."
    assert len(rows()["daily cost"]) == 2


def test_what_was_spent_in_a_month_that_is_over_counts_for_nothing() -> None:
    ada = make_user("ada")
    old = {"month": date(2026, 3, 1), "month_tokens": 500, "day": date(2026, 3, 5), "day_tokens": 400}
    Spending.objects.create(user=ada, **old)
    assert run()[-1] == "Nothing differed."
    now = timezone.now()
    call_model(ada, now, (2, 1))
    run()
    assert rows()["spending"] == [(ada.pk, None, now.date().replace(day=1), 3, now.date(), 3, 0)]


def test_an_account_that_is_deleted_meanwhile_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bea = make_user("ada"), make_user("bea")
    call_model(ada, OLD, (10, 5))
    call_model(bea, OLD, (1, 1))
    other, replace = connection.copy(), rebuild._replace

    def delete_first(*args: Any) -> None:
        with other.cursor() as cursor:
            cursor.execute("UPDATE usage_ledgerentry SET user_id = NULL WHERE user_id = %s", [ada.pk])
            cursor.execute("DELETE FROM accounts_user WHERE id = %s", [ada.pk])
        replace(*args)

    monkeypatch.setattr(rebuild, "_replace", delete_first)
    run()
    other.close()
    assert rows()["hourly usage"] == [(bea.pk, HOUR, 0, 1, 1)]


def test_it_is_exact_while_requests_and_calls_come_in(
    module_stores: OwnStores,
    start_web: Callable[..., WebServer],
    eventually: Callable[..., Any],
    model_calls: Callable[[str], list[dict[str, Any]]],
) -> None:
    web = start_web(workers=1, **module_stores.env)
    try:
        carol = Person(web.url, "carol")

        def wrong() -> None:
            HourlyUsage.objects.filter(user_id=carol.id).update(requests=5, input_tokens=3, output_tokens=2)

        def ask_and_call(number: int) -> None:
            for _ in range(10):
                assert carol.get("auth/me").status_code == 200
            assert carol.post("ai/complete", json={"prompt": f"{number} rebuilt-{carol.id}"}).status_code == 200

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask_and_call, number) for number in range(12)]
            while not all(each.done() for each in asking):
                wrong()
                assert run()[0].startswith("hourly usage: ")
            for each in asking:
                each.result()
        requests = 1 + 12 * 11  # the first one is for auth/me
        assert carol.get("usage/me").json()["total_requests"] == requests
        eventually(lambda: RequestRecord.objects.filter(user_id=carol.id).count() == requests + 1)
        calls = model_calls(f"rebuilt-{carol.id}")
        said = HourlyUsage.objects.filter(user_id=carol.id).values_list("requests", "input_tokens", "output_tokens")
        assert tuple(map(sum, zip(*said, strict=True))) == (
            requests + 1,
            sum(call["prompt_tokens"] for call in calls),
            sum(call["output_tokens"] + call["thoughts_tokens"] for call in calls),
        )
        carol.close()
    finally:
        web.kill()


def test_an_older_database_knows_no_request_before_the_first_record_that_is_left() -> None:
    """Otherwise counts of records that an older version has deleted would be reported as wrong."""
    ada = make_user("ada")
    call_command("migrate", "usage", "0003", verbosity=0)
    call_command("migrate", "usage", verbosity=0)
    assert RecorderPosition.objects.get().raw_since is None  # nothing has been counted yet
    HourlyUsage.objects.create(user=ada, hour=HOUR - timedelta(days=200), requests=1000)
    HourlyUsage.objects.create(user=ada, hour=HOUR, requests=5)
    ask(ada, OLD)
    call_command("migrate", "usage", "0003", verbosity=0)
    call_command("migrate", "usage", verbosity=0)
    assert RecorderPosition.objects.get().raw_since == OLD
    assert run()[-1] == "Nothing differed."
    assert [row[2] for row in rows()["hourly usage"]] == [1000, 5]
