"""GET, PATCH and DELETE /users/me."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2
import pymongo
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.models import AuditEvent, Session, User
from conftest import Api, Person

Eventually = Callable[..., Any]
NEW_PASSWORD = "another horse"


def log_in(api: Api, person: Person, password: str | None = None) -> httpx2.Response:
    return api.post("auth/login", json={"email": person.email, "password": password or person.password})


def assert_refused(answer: httpx2.Response, *fields: str) -> None:
    assert answer.status_code == 422, answer.text
    assert list(dict.fromkeys(error["field"] for error in answer.json()["errors"])) == list(fields)
    assert answer.json()["code"] == "validation_error"


def test_the_account_is_told(alice: Person) -> None:
    answer = alice.get("users/me")
    assert answer.status_code == 200
    body = answer.json()
    assert body == {
        "id": alice.id,
        "email": alice.email,
        "full_name": None,
        "is_active": True,
        "is_verified": False,
        "role": "user",
        "created_at": body["created_at"],
        "updated_at": body["updated_at"],
    }
    assert body["created_at"].endswith("Z")


def test_a_name_is_changed_and_taken_away(alice: Person) -> None:
    before = alice.get("users/me").json()
    for given, kept in (("Alice Lee", "Alice Lee"), ("  Ál\U0001f469  ", "Ál\U0001f469"), ("x" * 255, "x" * 255)):
        answer = alice.patch("users/me", json={"full_name": given})
        assert answer.status_code == 200
        assert answer.json() == {**before, "full_name": kept, "updated_at": answer.json()["updated_at"]}
        assert answer.json()["updated_at"] > before["updated_at"]
        assert alice.get("users/me").json() == answer.json()
    for nothing in (None, "", "  "):
        alice.patch("users/me", json={"full_name": "Alice"})
        assert alice.patch("users/me", json={"full_name": nothing}).json()["full_name"] is None


def test_an_empty_change_changes_nothing(alice: Person) -> None:
    before = alice.patch("users/me", json={"full_name": "Alice"}).json()
    ignored = {"email": "mallory@example.com", "role": "admin", "is_verified": True, "is_active": False, "id": 1}
    for body in ({}, ignored, {"current_password": None}, {"password": None}, {"current_password": "not it"}):
        answer = alice.patch("users/me", json=body)
        assert (answer.status_code, answer.json()) == (200, before), body


@pytest.mark.parametrize("name", ["x" * 256, ["Alice"], {}, "A\0lice", True])
def test_another_name_is_422(alice: Person, name: Any) -> None:
    assert_refused(alice.patch("users/me", json={"full_name": name}), "body.full_name")


def test_a_new_password_with_the_right_old_one_ends_the_other_sessions(anonymous: Api, alice: Person) -> None:
    other = anonymous.signed_in(log_in(anonymous, alice).json()["access_token"])
    Session.objects.filter(user_id=alice.id).update(created_at=timezone.now() - timedelta(days=3))
    body = {"password": NEW_PASSWORD, "current_password": alice.password, "full_name": "Alice"}
    answer = alice.patch("users/me", json=body)
    assert answer.status_code == 200
    assert answer.json()["full_name"] == "Alice"
    assert "password" not in answer.text
    assert other.get("auth/me").json()["code"] == "token_revoked"
    other.close()
    assert alice.get("auth/me").status_code == 200
    refresh = anonymous.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]})
    assert refresh.status_code == 200
    assert log_in(anonymous, alice).status_code == 401
    assert log_in(anonymous, alice, NEW_PASSWORD).status_code == 200
    changed = AuditEvent.objects.get(user_id=alice.id, event="password_changed")
    assert (changed.actor_id, changed.request_id) == (alice.id, answer.headers["X-Request-ID"])


def test_a_wrong_old_password_changes_nothing(anonymous: Api, alice: Person) -> None:
    other = anonymous.signed_in(log_in(anonymous, alice).json()["access_token"])
    body = {"password": NEW_PASSWORD, "current_password": "not it", "full_name": "Alice"}
    answer = alice.patch("users/me", json=body)
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": "Validation error",
        "code": "validation_error",
        "request_id": answer.headers["X-Request-ID"],
        "errors": [{"field": "body.current_password", "message": "The current password is not right"}],
    }
    assert other.get("users/me").json()["full_name"] is None
    other.close()
    assert log_in(anonymous, alice).status_code == 200


def test_the_old_password_can_be_guessed_no_more_often_than_at_a_login(anonymous: Api, alice: Person) -> None:
    body = {"password": NEW_PASSWORD, "current_password": "not it"}
    statuses = [alice.patch("users/me", json=body).status_code for _ in range(5)]
    assert statuses == [422] * 5
    locked = alice.patch("users/me", json={**body, "current_password": alice.password})
    assert (locked.status_code, locked.json()["code"]) == (429, "login_locked")
    assert log_in(anonymous, alice).status_code == 429
    failed = AuditEvent.objects.filter(user_id=alice.id, event="login_failed").values_list("actor_id", "details")
    assert list(failed) == [(None, {"by": "password_change"})] * 5


def test_within_15_minutes_of_the_login_the_old_password_is_not_needed(anonymous: Api, alice: Person) -> None:
    Session.objects.filter(user_id=alice.id).update(created_at=timezone.now() - timedelta(minutes=13))
    assert alice.patch("users/me", json={"password": NEW_PASSWORD}).status_code == 200
    assert log_in(anonymous, alice, NEW_PASSWORD).status_code == 200


@pytest.mark.parametrize("more", [{}, {"current_password": None}])
def test_later_it_is(anonymous: Api, alice: Person, more: dict[str, Any]) -> None:
    Session.objects.filter(user_id=alice.id).update(created_at=timezone.now() - timedelta(minutes=15, seconds=1))
    answer = alice.patch("users/me", json={"password": NEW_PASSWORD, "full_name": "Alice", **more})
    assert answer.status_code == 403
    assert answer.json() == {
        "detail": "Log in again, or send current_password, to change the password",
        "code": "reauthentication_required",
        "request_id": answer.headers["X-Request-ID"],
    }
    assert alice.get("users/me").json()["full_name"] is None
    assert log_in(anonymous, alice).status_code == 200


@pytest.mark.parametrize("password", ["", "1234567", "x" * 129, [], "NUL\0NUL\0NUL"])
def test_another_password_is_422(alice: Person, password: Any) -> None:
    assert_refused(alice.patch("users/me", json={"password": password, "current_password": "x"}), "body.password")


def rows_with(value: str, *, but: frozenset[str]) -> list[tuple[str, str]]:
    """(table, row) of each PostgreSQL row in which a column is `value`."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for table in sorted({name for (name,) in cursor.fetchall()} - but):
            cursor.execute(
                f'SELECT to_jsonb(t)::text FROM "{table}" t WHERE EXISTS'
                " (SELECT 1 FROM jsonb_each_text(to_jsonb(t)) f WHERE f.key IN ('id', 'user_id', 'owner_id', 'email',"
                " 'invited_email', 'actor_id') AND f.value = %s"
                f" AND NOT (f.key = 'id' AND %s <> '{User._meta.db_table}'))",
                [value, table],
            )
            found += [(table, row) for (row,) in cursor.fetchall()]
    return found


def documents_with(value: int) -> list[tuple[str, dict[str, Any]]]:
    """(collection, document) of each MongoDB document that contains the value at any depth."""

    def holds(part: Any) -> bool:
        if isinstance(part, dict):
            return any(holds(item) for item in part.values())
        if isinstance(part, list):
            return any(holds(item) for item in part)
        return part == value and not isinstance(part, bool)

    with pymongo.MongoClient[dict[str, Any]](os.environ["MONGODB_URL"]) as client:
        database = client[settings.MONGODB_DB]
        return [
            (name, document)
            for name in database.list_collection_names()
            for document in database[name].find({"$or": [{"owner_id": value}, {"user_id": value}, {"_id": value}]})
            if holds(document)
        ]


def test_a_deleted_account_leaves_nothing_behind(anonymous: Api, alice: Person, eventually: Eventually) -> None:
    kept = alice.new_conversation(title="Kept")
    assert alice.say(kept, "Hello").status_code == 200
    gone = alice.new_conversation(title="Gone")
    assert alice.delete(f"chat/conversations/{gone}").status_code == 204
    assert alice.post("ai/complete", json={"prompt": "Hello"}).status_code == 200
    # The audit log keeps its rows after a deletion, and requests are counted shortly after their answer.
    but = frozenset({AuditEvent._meta.db_table})
    eventually(lambda: alice.get("usage/me").json()["total_requests"] > 3)
    assert rows_with(str(alice.id), but=but)
    assert documents_with(alice.id)

    answer = alice.delete("users/me")
    assert (answer.status_code, answer.content) == (204, b"")
    assert alice.get("auth/me").json()["code"] == "token_revoked"
    refresh = anonymous.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]})
    assert refresh.json()["code"] == "refresh_invalid"
    assert log_in(anonymous, alice).json()["code"] == "invalid_credentials"
    eventually(lambda: not rows_with(str(alice.id), but=but))
    assert rows_with(alice.email, but=frozenset()) == []
    assert documents_with(alice.id) == []
    deleted = AuditEvent.objects.get(user_id=alice.id, event="account_deleted")
    assert deleted.actor_id == alice.id
    # If the requests of a deleted user were counted after the deletion, they would return as rows without a user.
    marker = Person(anonymous.origin, "marker")
    eventually(lambda: marker.get("usage/me").json()["total_requests"] > 0)
    assert rows_with(str(alice.id), but=but) == []
    marker.close()


def test_a_deleted_account_s_e_mail_can_register_again(anonymous: Api, alice: Person) -> None:
    conversation = alice.new_conversation()
    assert alice.delete("users/me").status_code == 204
    body = {"email": alice.email.upper(), "password": NEW_PASSWORD}
    again = anonymous.post("auth/register", json=body)
    assert again.status_code == 201
    client = anonymous.signed_in(again.json()["access_token"])
    assert client.get("users/me").json()["id"] != alice.id
    assert client.get(f"chat/conversations/{conversation}").status_code == 404
    assert client.get("chat/conversations").json()["conversations"] == []
    client.close()


def test_changes_during_a_deletion_are_answered_and_not_faults(alice: Person) -> None:
    def change(number: int) -> int:
        if number == 10:
            return alice.delete("users/me").status_code
        return alice.patch("users/me", json={"full_name": f"Alice {number}"}).status_code

    with ThreadPoolExecutor(20) as pool:
        statuses = set(pool.map(change, range(60)))
    assert statuses <= {200, 204, 401}
    assert 204 in statuses
    assert not User.objects.filter(pk=alice.id).exists()


def test_of_deletions_at_once_none_is_a_fault(alice: Person) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(lambda _: alice.delete("users/me").status_code, range(8)))
    assert 204 in statuses
    assert statuses <= {204, 401}
