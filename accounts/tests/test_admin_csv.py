"""Each list of the admin as a CSV file, and links from a user to the lists of their rows."""

from __future__ import annotations

import csv
import html
import io
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib import admin
from django.utils import timezone

from accounts.audit import AuditedExport
from accounts.models import AuditEvent, Membership, Organization, Session, User
from accounts.staff import csv_files
from accounts.tests.staff import Staff, helper, make_user, superuser
from conversations.models import Todo
from edgechat.errors import StoreUnavailable
from usage.models import LedgerEntry, RequestRecord

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")


def _rows(staff: Staff, path: str, **query: str) -> list[dict[str, str]]:
    answer = staff.get(f"{path}/export.csv", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def _exports(staff: Staff) -> list[dict[str, object]]:
    rows = AuditEvent.objects.filter(event="data_exported", actor_id=staff.user.pk).order_by("id")
    return list(rows.values_list("details", flat=True))


def _request(user: User, status: int, **fields: object) -> None:
    given = {"at": timezone.now(), "method": "GET", "route": "r", "milliseconds": 1, **fields}
    RequestRecord.objects.create(user=user, status=status, **given)


def test_every_list_has_a_file_with_its_columns_and_a_row_in_the_audit_log(web_url: str) -> None:
    paths = [f"{model._meta.app_label}/{model._meta.model_name}" for model in admin.site._registry]
    with superuser(web_url) as root:
        for path in paths:
            assert f"/admin/{path}/export.csv" in root.get(f"{path}/").text, path
            answer = root.get(f"{path}/export.csv", params={"q": "1"} if "conversation/" in path else {})
            assert answer.status_code == 200, path
            assert "attachment; filename=" in answer.headers["Content-Disposition"]
            assert all(next(csv.reader(io.StringIO(answer.text))))
        assert [row["file"] for row in _exports(root)] == [path.partition("/")[2] for path in paths]
        assert root.post_form("accounts/user/export.csv", {}).status_code == 405


def test_the_file_has_the_rows_of_the_filtered_and_searched_list_on_all_its_pages(web_url: str) -> None:
    user, other = make_user(), make_user()
    for _ in range(55):
        _request(user, 429)
    _request(user, 200)
    _request(other, 429)
    with superuser(web_url) as root:
        rows = _rows(root, "usage/requestrecord", q=user.email, status="429")
        assert {(row["User"], row["Status"]) for row in rows} == {(user.email, "429")}
        assert len(rows) == 55
        assert len(_rows(root, "usage/requestrecord", user=str(user.pk))) == 56
        [first, second] = _exports(root)
    assert (first["filters"], first["searched"]) == ({"status": "429"}, True)
    assert (second["filters"], second["searched"]) == ({"user": str(user.pk)}, False)
    assert user.email not in str([first, second])


def test_a_file_that_breaks_off_has_a_second_row_in_the_audit_log() -> None:
    def broken() -> Iterator[bytes]:
        yield b"one"
        yield b"three"
        raise StoreUnavailable

    user = make_user()
    export = AuditedExport(actor_id=user.pk, file="broken")
    with pytest.raises(StoreUnavailable):
        list(export.follow(broken()))
    export.end()
    AuditedExport(actor_id=user.pk, file="never read").end()
    whole = AuditedExport(actor_id=user.pk, file="whole")
    assert list(whole.follow([b"one"])) == [b"one"]
    whole.end()
    rows = AuditEvent.objects.filter(event="data_exported", actor_id=user.pk).order_by("id")
    assert [row.details for row in rows] == [
        {"file": "broken"},
        {"file": "broken", "complete": False, "bytes": 8},
        {"file": "never read"},
        {"file": "never read", "complete": False, "bytes": 0},
        {"file": "whole"},
    ]


def test_cells_that_spreadsheets_take_for_formulas_are_defused(web_url: str) -> None:
    domain = f"{uuid.uuid4().hex}.example.com"
    for number, formula in enumerate(FORMULAS):
        make_user(email=f"{number}@{domain}", full_name=formula)
    with superuser(web_url) as root:
        names = [row["Full name"] for row in _rows(root, "accounts/user", q=domain)]
    assert sorted(names) == sorted(f"'{formula}" for formula in FORMULAS)


def test_times_are_in_utc_and_costs_are_plain_numbers(web_url: str) -> None:
    user, now = make_user(), timezone.now()
    LedgerEntry.objects.create(
        attempt_id=uuid.uuid4().hex,
        user=user,
        purpose="chat",
        model="-m",
        abandoned_after=now,
        settled_at=now,
        cost_micros=1_234_567_890,
    )
    with superuser(web_url) as root:
        [row] = _rows(root, "usage/ledgerentry", user=str(user.pk))
    assert row["Cost (USD)"] == "1234.567890"
    assert row["Model"] == "'-m"
    assert row["Organization"] == ""
    assert row["Settled at"] == f"{now:%Y-%m-%d %H:%M:%S}+00:00"


def test_files_are_for_those_who_may_see_the_list_and_gave_their_password_lately(web_url: str) -> None:
    with helper(web_url, "view_user") as staff:
        assert staff.get("accounts/user/export.csv", params={"q": staff.user.email}).status_code == 200
        for path in ("usage/requestrecord", "accounts/auditevent", "conversations/conversation"):
            assert staff.get(f"{path}/export.csv").status_code == 403
            assert f"/admin/{path}/export.csv" not in staff.get("").text
        assert len(_exports(staff)) == 1
        long_ago = timezone.now() - timedelta(hours=1)
        Session.objects.filter(user=staff.user).update(created_at=long_ago, reauthenticated_at=long_ago)
        answer = staff.get("accounts/user/export.csv")
        assert answer.status_code == 302
        assert "confirm-password" in answer.headers["Location"]
        assert len(_exports(staff)) == 1


def test_texts_of_conversations_are_not_in_the_file_of_todos_without_the_permission(web_url: str) -> None:
    owner = make_user()
    Todo.objects.create(owner=owner, title="typed by the user")
    Todo.objects.create(owner=owner, title="a secret of the talk", conversation_id="c" * 24)
    readings = AuditEvent.objects.filter(event="transcript_read", user_id=owner.pk)
    with helper(web_url, "view_todo") as staff:
        titles = [row["Title"] for row in _rows(staff, "conversations/todo", user=str(owner.pk))]
    assert titles == ["(found in a conversation)", "typed by the user"]
    assert not readings.exists()
    with helper(web_url, "view_todo", "view_transcript") as staff:
        titles = [row["Title"] for row in _rows(staff, "conversations/todo", user=str(owner.pk))]
    assert titles == ["a secret of the talk", "typed by the user"]
    assert readings.count() == 1


def test_a_file_says_that_it_ends_before_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "MAX_ROWS", 3)
    lines = b"".join(csv_files._lines(["n"], lambda: iter([[[1], [2]], [[3], [4]], [[5]]]))).decode().splitlines()
    assert lines[:4] == ["n", "1", "2", "3"]
    assert lines[4].startswith("Only the first 3 rows")
    monkeypatch.setattr(csv_files, "MAX_SECONDS", -1.0)
    lines = b"".join(csv_files._lines(["n"], lambda: iter([[[1]], [[2]]]))).decode().splitlines()
    assert lines[1] == "1"
    assert lines[2].startswith("The file ends here")


def test_a_users_page_leads_to_their_rows_and_to_nothing_that_staff_may_not_see(web_url: str) -> None:
    user, other = make_user(), make_user()
    mine, theirs = (Organization.objects.create(name=uuid.uuid4().hex) for _ in range(2))
    Membership.objects.create(organization=mine, user=user, role="owner")
    Membership.objects.create(organization=theirs, user=other, role="owner")
    _request(user, 200, route=f"mine-{user.pk}")
    _request(other, 200, route=f"theirs-{other.pk}")
    AuditEvent.objects.create(event="login", user_id=user.pk, request_id=f"login-of-{user.pk}")
    page = f"accounts/user/{user.pk}/change/"
    with superuser(web_url) as root:
        nav = re.search(r'<nav[^>]*aria-label="Rows">(.*?)</nav>', root.get(page).text, re.DOTALL)
        assert nav
        links = {title: html.unescape(url) for url, title in re.findall(r'href="/admin/([^"]*)">([^<]*)<', nav[1])}
        shown = {title: root.get(url).text for title, url in links.items()}
        assert root.get(f"usage/ledgerentry/?user={'9' * 30}").status_code == 200
    assert set(links) >= {"Conversations", "Ledger", "Requests", "Audit events", "Organizations", "Sessions"}
    assert f"Conversations of {user.email}" in shown["Conversations"]
    assert f"mine-{user.pk}" in shown["Requests"]
    assert f"theirs-{other.pk}" not in shown["Requests"]
    assert f"mine-{user.pk}" not in shown["Failed requests"]
    assert f"login-of-{user.pk}" in shown["Audit events"]
    assert mine.name in shown["Organizations"]
    assert theirs.name not in shown["Organizations"]
    with helper(web_url, "view_user", "view_session") as staff:
        text = staff.get(page).text
    assert f"/admin/accounts/session/?user={user.pk}" in text
    assert "/admin/usage/ledgerentry/" not in text


def test_charts_and_costs_of_users_are_files(web_url: str) -> None:
    with superuser(web_url) as root:
        for slug in ("requests", "tokens", "users", "cost", "errors", "latency"):
            answer = root.get(f"usage/ledgerentry/charts/{slug}.csv", params={"from": "2020-01-01", "to": "2020-01-03"})
            lines = answer.text.splitlines()
            assert [line.partition(",")[0] for line in lines] == ["Day", "2020-01-01", "2020-01-02", "2020-01-03"]
        assert root.get("usage/ledgerentry/charts/x.csv").status_code == 404
        answer = root.get("usage/ledgerentry/users.csv", params={"from": "2020-01-01"})
        assert answer.text.startswith("Id,User,Requests,Refused,Failed,Calls,")
        for path in ("0", "x", "9" * 40):
            assert root.get(f"usage/ledgerentry/users/{path}/").status_code == 404
    with helper(web_url, "view_user") as staff:
        assert staff.get("usage/ledgerentry/charts/requests.csv").status_code == 403
