"""GET and PATCH /users/me; `test_delete_account` has DELETE."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import AuditEvent, Session, User
from conftest import Api, Person, assert_error

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_a_user_is_answered_whole(alice: Person) -> None:
    body = alice.get("users/me").json()
    assert TIME.fullmatch(body.pop("created_at"))
    assert TIME.fullmatch(body.pop("updated_at"))
    assert body == {
        "id": alice.id,
        "email": alice.email,
        "full_name": None,
        "is_active": True,
        "is_verified": False,
        "role": "user",
    }


def test_a_name_is_set_changed_and_taken_away(alice: Person) -> None:
    before = alice.get("users/me").json()
    for given, kept in (
        (" Ann ", "Ann"),
        ("Änn 👩‍👩‍👧", "Änn 👩‍👩‍👧"),
        ("n" * 255, "n" * 255),
        ("", None),
        ("Ann", "Ann"),
        (None, None),
    ):
        answer = alice.patch("users/me", json={"full_name": given})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body == {**before, "full_name": kept, "updated_at": body["updated_at"]}
        assert body["updated_at"] > before["updated_at"]
        assert alice.get("users/me").json() == body


def test_a_patch_without_anything_changes_nothing(alice: Person) -> None:
    before = alice.get("users/me").json()
    for body in ({}, {"unknown": 1}, {"is_verified": True, "role": "admin", "id": 1, "email": "x@example.com"}):
        assert alice.patch("users/me", json=body).json() == before
    assert alice.get("users/me").json() == before


def login(person: Api, email: str, password: str) -> int:
    return person.post("auth/login", json={"email": email, "password": password}).status_code


def log_in_long_ago(person: Person) -> None:
    Session.objects.filter(user_id=person.id).update(created_at=timezone.now() - timedelta(minutes=15, seconds=5))


def test_a_new_password_ends_all_other_sessions(alice: Person, anonymous: Api) -> None:
    other = alice.post("auth/login", json={"email": alice.email, "password": alice.password}).json()
    answer = alice.patch("users/me", json={"password": "another password", "current_password": alice.password})
    assert answer.status_code == 200
    assert "password" not in answer.json()
    assert answer.json() == alice.get("users/me").json()
    with alice.signed_in(other["access_token"]) as elsewhere:
        assert_error(elsewhere.get("auth/me"), 401, "token_revoked", "The session has ended")
    refresh = anonymous.post("auth/refresh", json={"refresh_token": other["refresh_token"]})
    assert_error(refresh, 401, "refresh_invalid", "Invalid or expired refresh token")
    assert anonymous.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]}).status_code == 200
    assert login(anonymous, alice.email, alice.password) == 401
    assert login(anonymous, alice.email, "another password") == 200
    event = AuditEvent.objects.get(user_id=alice.id, event="password_changed")
    assert (event.actor_id, event.request_id) == (alice.id, answer.headers["X-Request-ID"])


@pytest.mark.parametrize("long_ago", [False, True])
def test_a_wrong_current_password_is_422_even_soon_after_login(alice: Person, anonymous: Api, long_ago: bool) -> None:
    if long_ago:
        log_in_long_ago(alice)
    change = {"password": "another password", "current_password": "wrong", "full_name": "Ann"}
    answer = alice.patch("users/me", json=change)
    errors = [{"field": "body.current_password", "message": "The current password is not right"}]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)
    assert login(anonymous, alice.email, alice.password) == 200
    assert alice.get("users/me").json()["full_name"] is None


@pytest.mark.parametrize("body", [{}, {"current_password": None}])
def test_soon_after_login_no_current_password_is_needed(alice: Person, anonymous: Api, body: dict[str, Any]) -> None:
    assert alice.patch("users/me", json={"password": "another password", **body}).status_code == 200
    assert login(anonymous, alice.email, "another password") == 200


@pytest.mark.parametrize("body", [{}, {"current_password": None}])
def test_fifteen_minutes_after_login_it_is_needed(alice: Person, anonymous: Api, body: dict[str, Any]) -> None:
    log_in_long_ago(alice)
    answer = alice.patch("users/me", json={"password": "another password", **body})
    detail = "Log in again, or send current_password, to change the password"
    assert_error(answer, 403, "reauthentication_required", detail)
    assert login(anonymous, alice.email, alice.password) == 200
    assert alice.patch("users/me", json={"full_name": "Ann"}).status_code == 200
    right = {"password": "another password", "current_password": alice.password}
    assert alice.patch("users/me", json=right).status_code == 200


def test_a_refresh_is_no_login(alice: Person) -> None:
    log_in_long_ago(alice)
    tokens = alice.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]}).json()
    with alice.signed_in(tokens["access_token"]) as refreshed:
        assert refreshed.patch("users/me", json={"password": "another password"}).status_code == 403


def test_a_new_password_is_not_trimmed(alice: Person, anonymous: Api) -> None:
    assert alice.patch("users/me", json={"password": "  spaces  "}).status_code == 200
    assert login(anonymous, alice.email, "spaces") == 401
    assert login(anonymous, alice.email, "  spaces  ") == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"password": "1234567"}, "body.password"),
        ({"password": "x" * 129}, "body.password"),
        ({"password": None}, "body.password"),
        ({"full_name": "x" * 256}, "body.full_name"),
        ({"full_name": "a\x00b"}, "body.full_name"),
        ({"full_name": ["x"]}, "body.full_name"),
        ({"password": "long enough", "current_password": "x" * 1025}, "body.current_password"),
    ],
)
def test_a_faulty_change_is_422_and_changes_nothing(alice: Person, body: dict[str, Any], field: str) -> None:
    before = User.objects.get(pk=alice.id)
    answer = alice.patch("users/me", json=body)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    after = User.objects.get(pk=alice.id)
    assert (after.password, after.full_name, after.updated_at) == (before.password, before.full_name, before.updated_at)
