"""GET /auth/sessions, DELETE /auth/sessions/{id}, POST /auth/logout and /auth/logout-all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import AuditEvent, Session
from accounts.tests.logins import logged_in, session_id_of, status_with
from conftest import Api, Person, assert_error, at_once
from edgechat.tests.web_settings import ELSEWHERE, SMALL

REVOKED = (401, "token_revoked")


def test_sessions_are_listed_with_the_latest_used_first(anonymous: Api, alice: Person, bob: Person) -> None:
    user_agent = {"User-Agent": "EdgeChat/2.1 (Android 16)", "X-Forwarded-For": "10.200.0.7"}
    body = {"email": alice.email, "password": alice.password, "device_name": "tablet"}
    tablet = anonymous.post("auth/login", json=body, headers=user_agent).json()
    gone = logged_in(anonymous, alice.email, alice.password)
    old = logged_in(anonymous, alice.email, alice.password)
    Session.objects.filter(pk=session_id_of(gone)).update(ended_at=timezone.now())
    Session.objects.filter(pk=session_id_of(old)).update(expires_at=timezone.now())
    first = Session.objects.get(pk=session_id_of(alice.tokens))
    Session.objects.filter(pk=session_id_of(tablet)).update(last_used_at=timezone.now() + timedelta(minutes=5))
    answer = alice.get("auth/sessions")
    assert answer.status_code == 200
    listed = answer.json()["sessions"]
    assert answer.json() == {
        "sessions": [
            {
                "id": session_id_of(tablet),
                "device_name": "tablet",
                "user_agent": "EdgeChat/2.1 (Android 16)",
                "ip": "10.200.0.7",
                "created_at": listed[0]["created_at"],
                "last_used_at": listed[0]["last_used_at"],
                "current": False,
            },
            {
                "id": str(first.pk),
                "device_name": None,
                "user_agent": first.user_agent,
                "ip": first.ip,
                "created_at": listed[1]["created_at"],
                "last_used_at": listed[1]["last_used_at"],
                "current": True,
            },
        ]
    }
    assert listed[0]["created_at"].endswith("Z")
    assert listed[0]["last_used_at"] > listed[1]["last_used_at"]
    assert len(bob.get("auth/sessions").json()["sessions"]) == 1


def test_an_ended_session_is_over_at_once_and_the_others_go_on(anonymous: Api, alice: Person) -> None:
    tablet = logged_in(anonymous, alice.email, alice.password)
    assert status_with(anonymous, tablet) == (200, None)
    answer = alice.delete(f"auth/sessions/{session_id_of(tablet)}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert status_with(anonymous, tablet) == REVOKED
    refresh = anonymous.post("auth/refresh", json={"refresh_token": tablet["refresh_token"]})
    assert refresh.json()["code"] == "refresh_invalid"
    assert [session["current"] for session in alice.get("auth/sessions").json()["sessions"]] == [True]
    event = AuditEvent.objects.get(user_id=alice.id, event="session_ended")
    assert (event.actor_id, event.details) == (alice.id, {"session": session_id_of(tablet)})
    assert_error(alice.delete(f"auth/sessions/{session_id_of(tablet)}"), 404, "not_found", "Not found")


def test_the_own_session_can_be_ended_too(anonymous: Api, alice: Person) -> None:
    assert alice.delete(f"auth/sessions/{session_id_of(alice.tokens)}").status_code == 204
    assert status_with(anonymous, alice.tokens) == REVOKED


@pytest.mark.parametrize(
    "given", ["x", "7", "6b3a52e6-a382-405d-8ff8-0d56c026d864", "a" * 500, "%00", "0" * 31, "\u0661" * 32]
)
def test_a_session_that_is_not_there_is_404(alice: Person, given: str) -> None:
    assert_error(alice.delete(f"auth/sessions/{given}"), 404, "not_found", "Not found")


def test_somebody_else_s_session_is_404_and_goes_on(anonymous: Api, alice: Person, bob: Person) -> None:
    assert_error(bob.delete(f"auth/sessions/{session_id_of(alice.tokens)}"), 404, "not_found", "Not found")
    assert status_with(anonymous, alice.tokens) == (200, None)


def test_a_logout_ends_this_session_on_every_process_and_no_other(
    anonymous: Api, alice: Person, web_with: Callable[..., str]
) -> None:
    other_process = Api(web_with(**ELSEWHERE))
    tablet = logged_in(anonymous, alice.email, alice.password)
    assert status_with(other_process, alice.tokens) == (200, None)
    answer = alice.post("auth/logout")
    assert (answer.status_code, answer.json()) == (200, {"message": "Successfully logged out"})
    for api in (anonymous, other_process):
        assert status_with(api, alice.tokens) == REVOKED
        assert status_with(api, tablet) == (200, None)
    other_process.close()
    refresh = anonymous.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]})
    assert refresh.json()["code"] == "refresh_invalid"
    event = AuditEvent.objects.get(user_id=alice.id, event="session_ended")
    assert (event.actor_id, event.details) == (alice.id, {"session": session_id_of(alice.tokens)})


def test_logging_out_everywhere_ends_all_sessions_of_one_user(anonymous: Api, alice: Person, bob: Person) -> None:
    others = [logged_in(anonymous, alice.email, alice.password) for _ in range(3)]
    Session.objects.filter(pk=session_id_of(others[2])).update(expires_at=timezone.now())
    answer = alice.post("auth/logout-all")
    assert answer.status_code == 200
    assert answer.json() == {"message": "Successfully logged out", "sessions_ended": 3}
    for tokens in (alice.tokens, *others[:2]):
        assert status_with(anonymous, tokens) == REVOKED
    assert status_with(anonymous, bob.tokens) == (200, None)
    event = AuditEvent.objects.get(user_id=alice.id, event="session_ended")
    assert (event.actor_id, event.details) == (alice.id, {"sessions": 3})


def test_beyond_the_limit_the_oldest_session_ends(
    web_with: Callable[..., str], register: Callable[..., Person]
) -> None:
    alice = register("alice", web_with(**SMALL))
    tokens = [alice.tokens, *(logged_in(alice, alice.email, alice.password) for _ in range(2))]
    Session.objects.filter(pk=session_id_of(tokens[0])).update(last_used_at=timezone.now() + timedelta(minutes=5))
    assert [status_with(alice, each)[0] for each in tokens] == [200, 200, 200]
    tokens.append(logged_in(alice, alice.email, alice.password))
    assert [status_with(alice, each) for each in tokens] == [REVOKED, *[(200, None)] * 3]
    refused = alice.post("auth/refresh", json={"refresh_token": tokens[0]["refresh_token"]})
    assert_error(refused, 401, "refresh_invalid", "Invalid or expired refresh token")
    event = AuditEvent.objects.get(user_id=alice.id, event="session_ended")
    assert event.details == {"session": session_id_of(tokens[0]), "reason": "too_many_sessions"}
    body = {"email": alice.email, "password": alice.password}
    assert {answer.status_code for answer in at_once(6, lambda _: alice.post("auth/login", json=body))} == {200}
    assert Session.objects.live().filter(user_id=alice.id).count() == 3
