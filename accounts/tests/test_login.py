"""POST /auth/login."""

from __future__ import annotations

from collections.abc import Callable

import jwt
import pytest

from accounts.models import AuditEvent, Session, User
from conftest import Api, Person, assert_error
from edgechat.local.web import WebServer

WRONG = (401, "invalid_credentials", "Invalid email or password")


@pytest.mark.parametrize("change", [str, str.upper, lambda email: f" {email} "], ids=["as typed", "upper", "spaces"])
def test_login_answers_a_token_pair_of_a_session_of_its_own(
    anonymous: Api, alice: Person, change: Callable[[str], str]
) -> None:
    answer = anonymous.post("auth/login", json={"email": change(alice.email), "password": alice.password})
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in"}
    with anonymous.signed_in(body["access_token"]) as again:
        assert again.get("auth/me").json() == {"id": alice.id, "email": alice.email}
    assert alice.get("auth/me").status_code == 200
    assert Session.objects.filter(user_id=alice.id).count() == 2
    assert AuditEvent.objects.filter(user_id=alice.id, event="login").count() == 1


def test_a_wrong_password_and_an_unknown_email_are_answered_alike(anonymous: Api, alice: Person) -> None:
    for email in (alice.email, f"x{alice.email}", "no address at all", "'"):
        answer = anonymous.post("auth/login", json={"email": email, "password": "wrong"})
        assert_error(answer, *WRONG)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert AuditEvent.objects.filter(user_id=alice.id, event="login_failed").count() == 1
    request_id = answer.headers["X-Request-ID"]
    assert AuditEvent.objects.get(request_id=request_id).event == "login_failed"


def test_an_inactive_user_is_answered_as_an_unknown_one(anonymous: Api, alice: Person) -> None:
    User.objects.filter(pk=alice.id).update(is_active=False)
    credentials = {"email": alice.email, "password": alice.password}
    assert_error(anonymous.post("auth/login", json=credentials), *WRONG)
    assert_error(alice.get("auth/me"), 401, "token_revoked", "The session has ended")
    refresh = alice.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]})
    assert_error(refresh, 401, "refresh_invalid", "Invalid or expired refresh token")


def test_the_user_agent_and_device_are_kept_with_the_session(anonymous: Api, alice: Person) -> None:
    answer = anonymous.post(
        "auth/login",
        json={"email": alice.email, "password": alice.password, "device_name": "d" * 100},
        headers={b"User-Agent": b"\xe9" + b"u" * 400},
    )
    claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    session = Session.objects.get(pk=claims["sid"])
    assert (session.device_name, session.user_agent) == ("d" * 100, "\xe9" + "u" * 299)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"password": "p"}, "body.email"),
        ({"email": "a@example.com"}, "body.password"),
        ({"email": "", "password": "p"}, "body.email"),
        ({"email": "a@example.com", "password": "p" * 1025}, "body.password"),
        ({"email": "a@example.com", "password": "p", "device_name": "d" * 101}, "body.device_name"),
    ],
)
def test_a_faulty_login_is_422(anonymous: Api, body: dict[str, str], field: str) -> None:
    answer = anonymous.post("auth/login", json=body)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


def test_a_token_that_is_sent_along_does_not_matter(anonymous: Api, alice: Person) -> None:
    credentials = {"email": alice.email, "password": alice.password}
    answer = anonymous.post("auth/login", json=credentials, headers={"Authorization": "Bearer stale"})
    assert answer.status_code == 200


def test_in_production_common_passwords_are_refused_but_log_in(
    start_web: Callable[..., WebServer], anonymous: Api
) -> None:
    body = {"email": f"carol-{id(anonymous)}-common@example.com", "password": "password123"}
    assert anonymous.post("auth/register", json=body).status_code == 201
    secret = "a secret of thirty-two bytes or more"
    with Api(start_web(ENVIRONMENT="production", JWT_SECRET=secret).url) as api:
        answer = api.post("auth/register", json={**body, "email": f"x{body['email']}"})
        errors = [{"field": "body.password", "message": "This password is too common."}]
        assert_error(answer, 422, "validation_error", "Validation error", errors=errors)
        tokens = api.post("auth/login", json=body)
        assert tokens.status_code == 200
        with api.signed_in(tokens.json()["access_token"]) as carol:
            change = {"password": "secret123", "current_password": "password123"}
            assert_error(
                carol.patch("users/me", json=change), 422, "validation_error", "Validation error", errors=errors
            )
            assert carol.patch("users/me", json={"full_name": "Carol"}).status_code == 200
        evil = api.get("auth/me", headers={"Host": "evil.example.com"})
        assert_error(evil, 400, "malformed_request", "Malformed request")
