"""POST /auth/signup, /auth/signin and /users/register, in the form that the older backends' clients use."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import AuditEvent, Session, User
from accounts.tests.logins import log_in, new_email, status_with
from conftest import Api, Person, assert_error

SIGNUPS = ("auth/signup", "users/register")


def test_a_signup_makes_an_account_and_no_session(anonymous: Api) -> None:
    email = new_email("Ann")
    body = {"email": f" {email} ", "password": "secret123", "full_name": "Ann Lee"}
    answer = anonymous.post("auth/signup", json=body)
    assert answer.status_code == 201
    user = User.objects.get(email=email)
    made = answer.json()["user"]
    assert answer.json() == {
        "user": {
            "id": user.pk,
            "email": email,
            "full_name": "Ann Lee",
            "is_active": True,
            "is_verified": False,
            "role": "user",
            "created_at": made["created_at"],
            "updated_at": made["updated_at"],
        },
        "message": "User created successfully",
    }
    assert made["created_at"].endswith("Z")
    assert not Session.objects.filter(user=user).exists()
    assert AuditEvent.objects.filter(user_id=user.pk, event="registered", actor_id=user.pk).count() == 1


@pytest.mark.parametrize("name", [{}, {"full_name": None}, {"full_name": ""}])
def test_a_signup_needs_no_name(anonymous: Api, name: dict[str, Any]) -> None:
    answer = anonymous.post("auth/signup", json={"email": new_email(), "password": "secret123", **name})
    assert (answer.status_code, answer.json()["user"]["full_name"]) == (201, None)


def test_a_registration_answers_id_and_e_mail_with_200(anonymous: Api) -> None:
    email = new_email()
    answer = anonymous.post("users/register", json={"email": email, "password": "secret123"})
    user = User.objects.get(email=email)
    assert (answer.status_code, answer.json()) == (200, {"id": user.pk, "email": email})
    assert not Session.objects.filter(user=user).exists()
    assert log_in(anonymous, email, "secret123").status_code == 200


@pytest.mark.parametrize("path", SIGNUPS)
def test_an_e_mail_that_is_taken_is_400(anonymous: Api, alice: Person, path: str) -> None:
    answer = anonymous.post(path, json={"email": alice.email.upper(), "password": "secret123"})
    assert_error(answer, 400, "email_taken", "Email already registered")


@pytest.mark.parametrize("path", SIGNUPS)
@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["body.email", "body.password"]),
        ({"email": "no address", "password": "1234567"}, ["body.email", "body.password"]),
        ({"email": "x" * 250 + "@example.com", "password": "x" * 129}, ["body.email", "body.password"]),
    ],
)
def test_another_signup_is_422(anonymous: Api, path: str, body: dict[str, Any], fields: list[str]) -> None:
    answer = anonymous.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert sorted({error["field"] for error in answer.json()["errors"]}) == fields


def test_a_signin_answers_the_account_and_a_token_pair(anonymous: Api, alice: Person) -> None:
    answer = log_in(anonymous, alice.email, alice.password, "auth/signin")
    body = answer.json()
    assert answer.status_code == 200
    assert body == {
        "user": alice.get("users/me").json(),
        "access_token": body["access_token"],
        "refresh_token": body["refresh_token"],
        "token_type": "bearer",
        "device_token": body["device_token"],
    }
    assert status_with(anonymous, body) == (200, None)
    assert anonymous.post("auth/refresh", json={"refresh_token": body["refresh_token"]}).status_code == 200


def test_a_wrong_signin_is_401_whether_or_not_the_e_mail_is_known(anonymous: Api, alice: Person) -> None:
    for email in (alice.email, new_email(), "no address"):
        answer = log_in(anonymous, email, "not the password", "auth/signin")
        assert_error(answer, 401, "invalid_credentials", "Invalid email or password")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["auth/signin", "users/login"])
def test_what_is_no_signin_is_422(anonymous: Api, path: str) -> None:
    answer = anonymous.post(path, json={"email": "x" * 255})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["body.email", "body.password"]
