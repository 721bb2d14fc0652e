"""GET /users/me/export, manage.py export_user and delete_user: all data of a user, and none after the deletion."""

from __future__ import annotations

import base64
import inspect
import io
import json
import os
import stat
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from accounts.lifecycle import data_export
from accounts.lifecycle.deletion import delete_user
from accounts.models import AuditEvent, Membership, Organization, User
from accounts.tests.staff import make_user
from accounts.tests.test_delete_account import (
    documents_with,
    files_with,
    redis_keys_with,
    rows_of_user,
    rows_with,
)
from conftest import Api, Person, assert_error
from conversations.tests.exports import imported
from conversations.tests.test_attachments import picture, upload
from conversations.transcript_repository import collections
from conversations.transcript_repository.deletion import delete_everything_of
from usage.models import Budget, EarlyRefusal, HourlyUsage, LedgerEntry, RequestRecord

# Tables with a column that names a user, and the type of their lines in an export. None: not exported.
TABLES = {
    "accounts_user": "account",
    "accounts_session": "session",
    "accounts_apikey": "api_key",
    "accounts_membership": "membership",
    "accounts_auditevent": "audit_event",
    "accounts_user_groups": None,
    "accounts_user_user_permissions": None,
    "conversations_attachment": "attachment",
    "conversations_import": "import",
    "conversations_todo": "todo",
    "conversations_uploadkey": None,
    "django_admin_log": None,
    "usage_ledgerentry": "ledger",
    "usage_hourlyusage": "hourly_usage",
    "usage_requestrecord": "request",
    "usage_earlyrefusal": "early_refusal",
    "usage_budget": "budget",
    "usage_budgetwarning": None,  # e-mails that the user has
    "usage_organizationusage": None,  # sums of the ledger, like the next table
    "usage_spending": None,
    "usage_userday": None,  # sums of the requests and of the ledger
}


def lines_of(text: str) -> list[dict[str, Any]]:
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def tables_of_users() -> set[str]:
    """The tables with a column that names a user."""
    with connection.cursor() as cursor:
        return (
            {
                table
                for table in connection.introspection.table_names(cursor)
                if {"user_id", "owner_id"}
                & {each.name for each in connection.introspection.get_table_description(cursor, table)}
            }
            | {each.related_model._meta.db_table for each in User._meta.related_objects}
            | {"accounts_user"}
        )


@pytest.fixture
def secret() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def belongings(alice: Person, secret: str, eventually: Callable[..., Any]) -> dict[str, Any]:
    """One object of each kind that a user can have."""
    alice.patch("users/me", json={"full_name": f"Ann {secret}"})
    attachment = upload(alice, picture(), **{"Idempotency-Key": f"key-{secret}"}).json()
    conversation = alice.new_conversation(title=f"about {secret}")
    sent = alice.say(conversation, f"secret {secret}", attachment_ids=[attachment["id"]], client_message_id=secret)
    assert sent.status_code == 200, sent.text
    todo = alice.post("todos", json={"title": f"keep {secret}"}).json()
    assert alice.post("auth/api-keys", json={"name": f"key {secret}"}).status_code == 201
    imported(alice, eventually, [{"title": f"nothing of {secret}"}])
    organization = Organization.objects.create(name=f"Firm {secret[:8]}")
    Membership.objects.create(organization=organization, user_id=alice.id, role="member")
    Budget.objects.create(user_id=alice.id, token_limit=10**9)
    EarlyRefusal.objects.create(user_id=alice.id, hour=timezone.now(), status=429, reason="rate_limited", requests=1)
    LogEntry.objects.create(user_id=alice.id, object_id="1", object_repr="something", action_flag=1)
    eventually(lambda: RequestRecord.objects.filter(user_id=alice.id, method="POST", route__contains="todos").exists())
    eventually(lambda: not LedgerEntry.objects.filter(user_id=alice.id, settled_at=None).exists())
    return {"conversation": conversation, "attachment": attachment, "todo": todo, "organization": organization}


def test_the_export_has_one_of_everything_and_the_deletion_leaves_none(
    alice: Person, secret: str, belongings: dict[str, Any]
) -> None:
    conversation, attachment = belongings["conversation"], belongings["attachment"]
    answer = alice.get("users/me/export")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="edgechat-{alice.id}.ndjson"'
    *lines, last = lines_of(answer.text)

    found = Counter(line["type"] for line in lines)
    plurals = data_export._plurals
    assert last == {"counts": {plurals[kind]: found[kind] for kind in plurals}}
    assert {kind for kind in plurals if not found[kind]} == set(), "one of each"
    assert lines[0] == {"type": "account", **alice.get("users/me").json(), "last_login": lines[0]["last_login"]}

    def of(kind: str) -> list[dict[str, Any]]:
        return [{name: line[name] for name in line if name != "type"} for line in lines if line["type"] == kind]

    assert of("conversation") == [alice.get(f"chat/conversations/{conversation}").json()]
    messages = alice.messages(conversation)["messages"]
    assert of("message") == [{"conversation_id": conversation, **message} for message in messages]
    told = {name: belongings["todo"][name] for name in belongings["todo"] if name != "user_id"}
    assert of("todo") == [{**told, "conversation_id": "", "message_id": ""}]
    [exported] = of("attachment")
    file = alice.get(f"chat/attachments/{attachment['id']}")
    assert base64.b64decode(exported.pop("content")) == file.content
    assert exported.pop("created_at")
    assert exported == attachment
    [membership] = of("membership")
    assert (membership["organization_name"], membership["role"]) == (f"Firm {secret[:8]}", "member")
    assert [event["event"] for event in of("audit_event")] == ["registered", "api_key_created"]
    assert {entry["purpose"] for entry in of("ledger")} >= {"chat"}
    assert of("budget") == [{"period": "month", "token_limit": 10**9}]
    assert "password" not in answer.text.replace("example.com", "")
    assert alice.tokens["refresh_token"] not in answer.text

    assert redis_keys_with(conversation)
    assert files_with(uuid.UUID(attachment["id"]).hex)
    assert alice.delete("users/me").status_code == 204
    assert rows_with(alice.email) == rows_with(secret[9:]) == rows_with(conversation) == []
    assert rows_of_user(alice.id) == []
    assert documents_with(secret, alice.email, alice.id, conversation) == []
    assert redis_keys_with(secret, alice.email, conversation) == []
    assert files_with(uuid.UUID(attachment["id"]).hex) == []


def test_every_table_that_names_users_is_exported_or_knowingly_not() -> None:
    assert tables_of_users() == set(TABLES)
    assert {kind for kind in TABLES.values() if kind} | {"conversation", "message"} == set(data_export._plurals)


def test_every_collection_is_part_of_the_deletion() -> None:
    returned = {name: getattr(each, "__annotations__", {}).get("return") for name, each in vars(collections).items()}
    named = {name for name, kind in returned.items() if kind == "Collection[Document]"}
    assert len(named) > 3
    assert named - set(inspect.unwrap(delete_everything_of).__code__.co_names) == set()


def test_the_export_of_a_new_account_counts_zero(alice: Person) -> None:
    lines = lines_of(alice.get("users/me/export").text)
    counts = lines[-1]["counts"]
    assert (counts["accounts"], counts["sessions"], counts["audit_events"]) == (1, 1, 1)
    assert (counts["conversations"], counts["messages"], counts["todos"], counts["attachments"]) == (0, 0, 0, 0)


def test_nothing_of_others_is_in_it(alice: Person, bob: Person, secret: str) -> None:
    bob.say(bob.new_conversation(title=secret), secret)
    bob.post("todos", json={"title": secret})
    text = alice.get("users/me/export").text
    assert secret not in text
    assert bob.email not in text


def test_where_the_staff_were_who_did_something_is_not_in_it(alice: Person, bob: Person) -> None:
    AuditEvent.objects.create(
        event="activated", user_id=alice.id, actor_id=bob.id, ip="192.0.2.77", request_id="of-the-staff"
    )
    lines = lines_of(alice.get("users/me/export").text)
    own, other = (line for line in lines if line.get("type") == "audit_event")
    assert (other["actor_id"], other["ip"], other["request_id"]) == (bob.id, None, "")
    assert own["ip"]
    assert own["request_id"]


def test_without_a_token_there_is_no_export(anonymous: Api) -> None:
    assert_error(anonymous.get("users/me/export"), 401, "not_authenticated", "Not authenticated")


def test_long_lists_are_exported_in_pages_without_gaps(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_export, "ROWS_PER_BATCH", 2)
    conversations = sorted(alice.new_conversation() for _ in range(5))
    todos = [alice.post("todos", json={"title": f"todo {number}"}).json()["id"] for number in range(5)]
    lines = [json.loads(line) for line in data_export.export_lines(User.objects.get(pk=alice.id))]
    assert [line["id"] for line in lines if line.get("type") == "conversation"] == conversations
    assert [line["id"] for line in lines if line.get("type") == "todo"] == todos


def test_the_command_writes_all_of_it_for_its_owner_alone(
    alice: Person, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    alice.post("todos", json={"title": "Ärger 😀"})
    file, out = tmp_path / "alice.ndjson", io.StringIO()
    call_command("export_user", alice.email.upper(), output=str(file), stdout=out)
    assert out.getvalue() == f"Wrote {file}.\n"
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    printed = io.StringIO()
    call_command("export_user", alice.email, stdout=printed)

    def lasting(text: str) -> Iterator[dict[str, Any]]:
        """The lines that no request changes: without request counts and the audit of the exports."""
        return (line for line in lines_of(text) if line.get("type") in ("account", "todo", "session"))

    assert list(lasting(file.read_text())) == list(lasting(printed.getvalue()))
    assert next(lasting(printed.getvalue()))["email"] == alice.email
    events = AuditEvent.objects.filter(user_id=alice.id, event="data_exported").values_list("details", "actor_id")
    assert list(events) == [({}, None)] * 2


def test_the_command_overwrites_nothing_and_knows_only_users(tmp_path: Path) -> None:
    user, file = make_user(), tmp_path / "there"
    file.write_text("kept")
    with pytest.raises(CommandError, match="File exists"):
        call_command("export_user", user.email, output=str(file))
    assert file.read_text() == "kept"
    for command in ("export_user", "delete_user"):
        with pytest.raises(CommandError, match=r"There is no user nobody@example\.com\."):
            call_command(command, "nobody@example.com")


def test_delete_user_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    user, out = make_user(), io.StringIO()
    for answer in ("", "yes", "another@example.com"):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        with pytest.raises(CommandError, match=r"Nothing was deleted\."):
            call_command("delete_user", user.email, stdout=out)
    assert User.objects.filter(pk=user.pk, deletion_requested_at=None).exists()
    monkeypatch.setattr("builtins.input", lambda _: user.email)
    call_command("delete_user", user.email, stdout=out)
    assert not User.objects.filter(pk=user.pk).exists()


def test_delete_user_deletes_and_is_audited(alice: Person) -> None:
    conversation, out = alice.new_conversation(), io.StringIO()
    call_command("delete_user", alice.email, yes=True, stdout=out)
    assert out.getvalue() == f"Deleted {alice.email}, user {alice.id}, with all data.\n"
    assert rows_of_user(alice.id) == documents_with(alice.id, conversation) == []
    event = AuditEvent.objects.get(user_id=alice.id, event="account_deleted")
    assert (event.actor_id, event.ip) == (None, None)
    assert_error(alice.get("auth/me"), 401, "token_revoked", "The session has ended")


def test_delete_user_says_when_a_store_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    from accounts.lifecycle import deletion

    user = make_user()

    def erase(user_id: int) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(deletion, "_erasers", [erase])
    with pytest.raises(CommandError, match="is shut out, but a store failed"):
        call_command("delete_user", user.email, yes=True)
    assert User.objects.get(pk=user.pk).is_active is False
    monkeypatch.undo()
    assert delete_user(user=user, caller=None, actor_id=None)


def test_an_export_with_a_store_away_breaks_off_without_counts(
    alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgechat.stores import mongo
    from edgechat.stores.breaker import Breaker

    file = tmp_path / "part"
    monkeypatch.setattr(mongo, "_client", None)
    monkeypatch.setattr(
        mongo, "_breaker", Breaker("mongo")
    )  # an open circuit breaker would fail the tests of the next second
    with override_settings(MONGODB_URL="mongodb://127.0.0.1:9/"):
        with pytest.raises(CommandError, match="A store is not available; the export broke off"):
            call_command("export_user", alice.email, output=str(file))
    assert "counts" not in file.read_text()
    rows = AuditEvent.objects.filter(user_id=alice.id, event="data_exported").order_by("id")
    [begun, broken] = rows.values_list("details", flat=True)
    assert (begun, broken) == ({}, {"complete": False, "bytes": broken["bytes"]})


def test_hours_are_exported(alice: Person, eventually: Callable[..., Any]) -> None:
    eventually(lambda: HourlyUsage.objects.filter(user_id=alice.id).exists())
    lines = lines_of(alice.get("users/me/export").text)
    assert [line for line in lines if line.get("type") == "hourly_usage"]


def test_each_record_is_one_line_for_every_reader(alice: Person) -> None:
    conversation = alice.new_conversation(title="one\u2028two\u2029three")
    alice.say(conversation, "a\u0085b\u2028c")
    answer = alice.get("users/me/export")
    assert answer.text.splitlines() == answer.text.removesuffix("\n").split("\n")
    records = lines_of(answer.text)
    assert [each["title"] for each in records if each.get("type") == "conversation"] == ["one\u2028two\u2029three"]
    contents = [each["content"] for each in records if each.get("type") == "message"]
    assert contents == ["a\u0085b\u2028c", "Echo: a\u0085b\u2028c"]
