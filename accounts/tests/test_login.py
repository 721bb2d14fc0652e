"""POST /auth/login."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import jwt
import pytest

from accounts.models import AuditEvent, Session, User
from conftest import Api, Person, new_address


def login(api: Api, **body: Any) -> httpx2.Response:
    # Not `json=`, which cannot write a lone surrogate.
    headers = {**new_address(), "Content-Type": "application/json"}
    return api.post("auth/login", content=json.dumps(body), headers=headers)


def assert_refused(answer: httpx2.Response) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json() == {
        "detail": "Invalid email or password",
        "code": "invalid_credentials",
        "request_id": answer.headers["X-Request-ID"],
    }


def test_a_login_answers_a_token_pair_of_a_new_session(anonymous: Api, alice: Person) -> None:
    answer = login(anonymous, email=alice.email, password=alice.password, device_name="tablet")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in", "device_token"}
    assert body["token_type"] == "bearer"
    session = Session.objects.get(user_id=alice.id, device_name="tablet")
    for kind, lifetime in (("access", 900), ("refresh", 7 * 24 * 3600)):
        claims = jwt.decode(body[f"{kind}_token"], options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == lifetime
        assert {**claims, "exp": 0, "iat": 0, "jti": ""} == {
            "sub": str(alice.id),
            "type": kind,
            "exp": 0,
            "iat": 0,
            "jti": "",
            "sid": str(session.pk),
            "gen": 0,
            "user_id": alice.id,
            "role": "user",
        }
        assert claims["jti"]
    access = jwt.decode(body["access_token"], options={"verify_signature": False})
    # Not more than the remaining time, or a client would use an expired token.
    assert body["expires_in"] == access["exp"] - access["iat"] == 900
    assert alice.get("auth/me").status_code == 200, "the first session goes on"
    assert AuditEvent.objects.filter(user_id=alice.id, event="login", actor_id=alice.id).count() == 1


def test_every_login_has_tokens_of_its_own(anonymous: Api, alice: Person) -> None:
    bodies = [login(anonymous, email=alice.email, password=alice.password).json() for _ in range(3)]
    assert len({body[kind] for body in bodies for kind in ("access_token", "refresh_token")}) == 6


@pytest.mark.parametrize("change", [str.upper, str.title, lambda email: f" {email}\n"])
def test_the_e_mail_s_letter_case_does_not_matter(anonymous: Api, alice: Person, change: Any) -> None:
    answer = login(anonymous, email=change(alice.email), password=alice.password)
    assert answer.status_code == 200
    assert anonymous.signed_in(answer.json()["access_token"]).get("auth/me").json() == {
        "id": alice.id,
        "email": alice.email,
    }


def test_the_password_s_letter_case_does_matter(anonymous: Api, alice: Person) -> None:
    assert_refused(login(anonymous, email=alice.email, password=alice.password.upper()))


def test_a_wrong_password_an_unknown_e_mail_and_an_inactive_user_are_answered_alike(
    anonymous: Api, alice: Person, bob: Person
) -> None:
    User.objects.filter(pk=bob.id).update(is_active=False)
    assert_refused(login(anonymous, email=alice.email, password="not her password"))
    assert_refused(login(anonymous, email=f"nobody-{alice.email}", password=alice.password))
    assert_refused(login(anonymous, email=bob.email, password=bob.password))
    assert_refused(login(anonymous, email="not an address", password=alice.password))
    failures = AuditEvent.objects.filter(event="login_failed")
    assert failures.filter(user_id=alice.id, actor_id=None).count() == 1
    assert failures.filter(user_id=bob.id, actor_id=None).count() == 1
    assert not AuditEvent.objects.filter(user_id=bob.id, event="login").exists()


def test_a_user_without_a_usable_password_can_not_log_in(anonymous: Api) -> None:
    user = User.objects.create_user(f"no-password-{time.time_ns()}@example.com", None)
    for password in ("!", user.password, "anything at all"):
        assert_refused(login(anonymous, email=user.email, password=password))


def test_a_deactivated_user_who_comes_back_can_log_in(anonymous: Api, bob: Person) -> None:
    User.objects.filter(pk=bob.id).update(is_active=False)
    assert_refused(login(anonymous, email=bob.email, password=bob.password))
    User.objects.filter(pk=bob.id).update(is_active=True)
    assert login(anonymous, email=bob.email, password=bob.password).status_code == 200


def test_a_null_or_absent_device_name_is_none(anonymous: Api, alice: Person) -> None:
    for device in ({}, {"device_name": None}, {"device_name": ""}):
        assert login(anonymous, email=alice.email, password=alice.password, **device).status_code == 200


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["body.email", "body.password"]),
        ({"email": None, "password": None}, ["body.email", "body.password"]),
        ({"email": "", "password": "password"}, ["body.email"]),
        ({"email": "ann@example.com", "password": ""}, ["body.password"]),
        ({"email": ["ann@example.com"], "password": {}}, ["body.email", "body.password"]),
        ({"email": "x" * 255, "password": "x" * 1025}, ["body.email", "body.password"]),
        ({"email": "a\0@example.com", "password": "pass\0word"}, ["body.email", "body.password"]),
        ({"email": "\ud800@example.com", "password": "\udc00 password"}, ["body.email", "body.password"]),
        ({"email": "ann@example.com", "password": "password", "device_name": "x" * 101}, ["body.device_name"]),
    ],
)
def test_what_is_no_login_is_422(anonymous: Api, body: dict[str, Any], fields: list[str]) -> None:
    answer = login(anonymous, **body)
    assert answer.status_code == 422
    assert sorted({error["field"] for error in answer.json()["errors"]}) == fields
    assert answer.json()["code"] == "validation_error"


@pytest.mark.parametrize("user_agent", ["", "x" * 2000, "caf\u00e9 \u00ff"])
def test_any_user_agent_may_log_in(anonymous: Api, alice: Person, user_agent: str) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in new_address().items()]
    headers.append((b"User-Agent", user_agent.encode("latin-1")))
    answer = anonymous.post("auth/login", json={"email": alice.email, "password": alice.password}, headers=headers)
    assert answer.status_code == 200
    sid = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})["sid"]
    assert Session.objects.get(pk=sid).user_agent == user_agent[:300]
