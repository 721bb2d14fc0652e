"""manage.py usage_report. Each test has its own days, far from those of other tests."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts.models import User
from accounts.tests.organizations import new_organization
from accounts.tests.staff import make_user
from usage.management.commands.usage_report import COLUMNS
from usage.models import HourlyUsage, LedgerEntry
from usage.reports import queries

PROJECT = Path(__file__).parents[2]


def _at(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}+00:00")


def _call(user: User | None, at: datetime | None, **fields: Any) -> None:
    values = {"purpose": "chat", "model": "gemini-x", "input_tokens": 10, "output_tokens": 5, **fields}
    LedgerEntry.objects.create(
        attempt_id=uuid.uuid4().hex, user=user, abandoned_after=timezone.now(), settled_at=at, **values
    )


def _report(*options: str) -> str:
    out = io.StringIO()
    call_command("usage_report", *options, stdout=out)
    return out.getvalue()


def test_users_come_with_tokens_calls_and_requests_the_most_tokens_first() -> None:
    ada, bea, idle = make_user("ada"), make_user("bea"), make_user("idle")
    _call(ada, _at("1981-02-01T00:00"), cached_tokens=4, thinking_tokens=3, cost_micros=70)
    _call(ada, _at("1981-02-28T23:59"), cost_micros=0)
    _call(bea, _at("1981-02-10T12:00"), input_tokens=1000)
    _call(None, _at("1981-02-11T12:00"), input_tokens=1, output_tokens=0)
    _call(ada, _at("1981-01-31T23:59"))  # before
    _call(ada, _at("1981-03-01T00:00"))  # after
    _call(ada, None)  # not settled
    HourlyUsage.objects.create(user=ada, hour=_at("1981-02-28T23:00"), requests=7)
    HourlyUsage.objects.create(user=idle, hour=_at("1981-02-01T00:00"), requests=2)
    HourlyUsage.objects.create(user=idle, hour=_at("1981-03-01T00:00"), requests=50)
    names = ("name", "requests", *COLUMNS)
    body = json.loads(_report("--since", "1981-02-01", "--until", "1981-02-28", "--format", "json"))
    assert body == {
        "since": "1981-02-01",
        "until": "1981-02-28",
        "by": "user",
        "rows": [
            dict(zip(names, row, strict=True))
            for row in [
                (bea.email, 0, 1, 1000, 5, 1005, 0, 0, 0, 1),
                (ada.email, 7, 2, 20, 10, 30, 4, 3, 70, 0),
                (None, 0, 1, 1, 0, 1, 0, 0, 0, 1),
                (idle.email, 2, 0, 0, 0, 0, 0, 0, 0, 0),
            ]
        ],
    }


def test_purposes_and_models_are_summed_up_as_csv() -> None:
    user = make_user()
    for purpose, model, cost in [("chat", "model-a", None), ("chat", "model-b", 5)]:
        _call(user, _at("1982-05-05T05:05"), purpose=purpose, model=model, cost_micros=cost)
    models = {"model": "asked", "answered_by": "model-b"}
    _call(user, _at("1982-05-05T05:05"), purpose="title", cost_micros=2_000_000, **models)
    span = ("--since", "1982-05-05", "--until", "1982-05-05", "--format", "csv")
    header = list(COLUMNS)
    assert list(csv.reader(io.StringIO(_report(*span, "--by", "purpose")))) == [
        ["purpose", *header],
        ["chat", "2", "20", "10", "30", "0", "0", "5", "1"],
        ["title", "1", "10", "5", "15", "0", "0", "2000000", "0"],
    ]
    assert list(csv.reader(io.StringIO(_report(*span, "--by", "model")))) == [
        ["model", *header],
        ["model-b", "2", "20", "10", "30", "0", "0", "2000005", "0"],
        ["model-a", "1", "10", "5", "15", "0", "0", "0", "1"],
    ]


def test_the_table_is_aligned_and_ends_with_a_sum() -> None:
    user = make_user()
    _call(user, _at("1983-06-01T00:00"), input_tokens=123456, cost_micros=1_234_567)
    _call(None, _at("1983-06-02T00:00"))
    lines = _report("--since", "1983-06-01", "--until", "1983-06-30").splitlines()
    assert lines[0] == "1983-06-01 to 1983-06-30, UTC, by user"
    assert {len(line) for line in lines[1:]} == {len(lines[1])}
    assert lines[1].split()[-2:] == ["cost", "unpriced_calls"]
    assert [line.split()[-9:] for line in lines[2:]] == [
        ["0", "1", "123456", "5", "123461", "0", "0", "1.234567", "0"],
        ["0", "1", "10", "5", "15", "0", "0", "0.000000", "1"],
        ["0", "2", "123466", "10", "123476", "0", "0", "1.234567", "1"],
    ]
    assert [line.split()[0] for line in lines[1:]] == ["user", user.email, "(deleted", "all"]


def test_organizations_of_one_name_are_told_apart_by_their_id() -> None:
    user, first, second = make_user(), new_organization("Readers"), new_organization("Readers")
    for organization, tokens in ((second, 300), (None, 200), (first, 100)):
        _call(user, _at("1989-06-01T00:00"), organization=organization, input_tokens=tokens, cost_micros=tokens)
    _call(None, _at("1989-06-02T00:00"), organization=first, input_tokens=1)
    span = ("--since", "1989-06-01", "--until", "1989-06-30", "--by", "organization")
    names = ("name", "id", *COLUMNS)
    assert json.loads(_report(*span, "--format", "json"))["rows"] == [
        dict(zip(names, row, strict=True))
        for row in [
            ("Readers", second.pk, 1, 300, 5, 305, 0, 0, 300, 0),
            (None, None, 1, 200, 5, 205, 0, 0, 200, 0),
            ("Readers", first.pk, 2, 101, 10, 111, 0, 0, 100, 1),
        ]
    ]
    assert list(csv.reader(io.StringIO(_report(*span, "--format", "csv"))))[:3] == [
        ["organization", "id", *COLUMNS],
        ["Readers", str(second.pk), "1", "300", "5", "305", "0", "0", "300", "0"],
        ["(none, or deleted)", "", "1", "200", "5", "205", "0", "0", "200", "0"],
    ]
    lines = _report(*span).splitlines()
    assert {len(line) for line in lines[1:]} == {len(lines[1])}
    assert lines[-1].split() == ["all", "4", "601", "20", "621", "0", "0", "0.000600", "1"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r\n=1"])
def test_a_name_is_no_formula_to_a_spreadsheet(name: str) -> None:
    organization, day = new_organization(name), _at("1991-06-01T00:00")
    _call(None, day, organization=organization)
    found = []
    try:
        span = ("--since", "1991-06-01", "--until", "1991-06-01", "--by", "organization", "--format")
        found = [list(csv.reader(io.StringIO(_report(*span, "csv"))))[1][0]]
        found += [row["name"] for row in json.loads(_report(*span, "json"))["rows"]]
    finally:
        LedgerEntry.objects.filter(settled_at=day).delete()
    assert found == ["'" + name.replace("\t", " ").replace("\r\n", "  "), name]


def test_a_name_cannot_break_the_table_or_command_the_terminal() -> None:
    organization = new_organization("Rea\n\x1b[2Jders")
    _call(None, _at("1990-06-01T00:00"), organization=organization)
    span = ("--since", "1990-06-01", "--until", "1990-06-30", "--by", "organization")
    assert _report(*span).splitlines()[2].startswith("Rea  [2Jders   ")
    assert _report(*span, "--format", "csv").splitlines()[1].startswith("Rea  [2Jders,")


def test_an_empty_span_is_an_empty_report() -> None:
    span = ("--since", "1984-01-01", "--until", "1984-01-31")
    assert json.loads(_report(*span, "--format", "json"))["rows"] == []
    assert _report(*span, "--format", "csv").count("\n") == 1
    assert _report(*span).splitlines()[-1].split() == ["all", *["0"] * 7, "0.000000", "0"]


def test_this_month_is_the_default() -> None:
    user = make_user()
    _call(user, timezone.now())
    today = datetime.now(UTC).date()
    body = json.loads(_report("--format", "json"))
    assert body["since"] in (str(today.replace(day=1)), str((today - timedelta(days=1)).replace(day=1)))
    assert user.email in [row["name"] for row in body["rows"]]


def test_a_last_day_in_another_month_begins_that_month() -> None:
    assert json.loads(_report("--until", "1985-03-10", "--format", "json"))["since"] == "1985-03-01"


def test_more_rows_than_are_fetched_at_once_all_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "ROWS_PER_BATCH", 2)
    users = [make_user() for _ in range(5)]
    for number, user in enumerate(users):
        _call(user, _at("1986-01-01T00:00"), input_tokens=100 - number)
    rows = queries.ledger_report(by="user", since=_at("1986-01-01"), until=_at("1986-01-02"))
    assert next(rows).name == users[0].email
    with connection.cursor() as cursor:  # the other rows stay on the server, and other queries can run meanwhile
        cursor.execute("SELECT count(*) FROM pg_cursors")
        assert cursor.fetchone() == (1,)
    assert [row.name for row in rows] == [user.email for user in users[1:]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--since", "1987-02-30"), "'1987-02-30' is not a day such as"),
        (("--until", "soon"), "'soon' is not a day such as"),
        (("--until", "9999-12-31"), "out of range"),
        (("--since", str(date(1987, 2, 2)), "--until", "1987-02-01"), "--since 1987-02-02 is after --until 1987-02-01"),
        (("--by", "weather"), "invalid choice: 'weather'"),
    ],
)
def test_what_cannot_be_reported_is_a_command_error(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        _report(*options)


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    for number in range(3):
        _call(None, _at("1988-01-01T00:00"), model=f"m{number}")
    reader, writer = os.pipe()
    os.close(reader)
    command = [
        sys.executable,
        "manage.py",
        "usage_report",
        "--by",
        "model",
        "--since",
        "1988-01-01",
        "--until",
        "1988-01-01",
    ]
    done = subprocess.run(
        command, check=False, cwd=PROJECT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=300
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
