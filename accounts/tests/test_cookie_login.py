"""POST /users/login, /users/refresh and /users/logout, with the refresh token in a cookie."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import httpx2
import pytest
from django.utils import timezone

from accounts.login.tokens import make_token
from accounts.models import AuditEvent, Session, TokenPair
from accounts.tests.logins import log_in, new_email, session_id_of, status_with
from conftest import Api, Person, assert_error, new_address
from edgechat.tests.web_settings import PRODUCTION, TWO_PROCESSES

EVIL = "https://evil.example.com"


def cookie_login(api: Api, person: Person) -> tuple[dict[str, str], str]:
    """The body of the answer and the refresh token of the cookie."""
    answer = log_in(api, person.email, person.password, "users/login")
    assert answer.status_code == 200, answer.text
    api.cookies.clear()
    return answer.json(), set_cookie(answer)[0]


def set_cookie(answer: httpx2.Response) -> tuple[str, set[str]]:
    """The value of the new cookie and its attributes."""
    [header] = [one for one in answer.headers.get_list("Set-Cookie") if one.startswith("refresh_token=")]
    pair, *attributes = header.split("; ")
    return pair.partition("=")[2], set(attributes)


def post(api: Api, path: str, token: str | None, **headers: str) -> httpx2.Response:
    cookie = {} if token is None else {"Cookie": f"refresh_token={token}"}
    answer = api.post(path, headers={**new_address(), **cookie, **headers})
    api.cookies.clear()
    return answer


def assert_refused(answer: httpx2.Response, detail: str) -> None:
    assert_error(answer, 401, "refresh_invalid", detail)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_login_answers_an_access_token_and_hides_the_refresh_token(anonymous: Api, alice: Person) -> None:
    answer = log_in(anonymous, alice.email, alice.password, "users/login")
    body = answer.json()
    assert body == {"access_token": body["access_token"], "token_type": "bearer"}
    assert status_with(anonymous, body) == (200, None)
    token, attributes = set_cookie(answer)
    assert token not in answer.text
    assert attributes - {next(text for text in attributes if text.startswith("expires="))} == {
        "HttpOnly",
        "Max-Age=604800",
        "Path=/",
        "SameSite=Lax",
    }


def test_in_production_the_cookie_is_secure(alice: Person, web_with: Callable[..., str]) -> None:
    with Api(web_with(**PRODUCTION)) as api:
        assert "Secure" in set_cookie(log_in(api, alice.email, alice.password, "users/login"))[1]


def test_a_wrong_login_is_401_and_sets_no_cookie(anonymous: Api, alice: Person) -> None:
    for email in (alice.email, new_email()):
        answer = log_in(anonymous, email, "not the password", "users/login")
        assert_error(answer, 401, "invalid_credentials", "Incorrect email or password")
        assert "Set-Cookie" not in answer.headers


def test_a_refresh_rotates_the_cookie(anonymous: Api, alice: Person) -> None:
    first, old = cookie_login(anonymous, alice)
    answer = post(anonymous, "users/refresh", old)
    body = answer.json()
    assert (answer.status_code, body) == (200, {"access_token": body["access_token"], "token_type": "bearer"})
    new, attributes = set_cookie(answer)
    assert new != old
    assert {"HttpOnly", "Max-Age=604800", "Path=/", "SameSite=Lax"} < attributes
    assert session_id_of(body) == session_id_of(first)
    again = post(anonymous, "users/refresh", old)
    assert (again.json(), set_cookie(again)[0]) == (body, new), "the answer may have been lost"
    assert status_with(anonymous, body) == (200, None)
    assert post(anonymous, "users/refresh", new).status_code == 200


def test_a_replaced_cookie_is_theft_and_ends_the_session(anonymous: Api, alice: Person) -> None:
    _, old = cookie_login(anonymous, alice)
    body = post(anonymous, "users/refresh", old).json()
    assert status_with(anonymous, body) == (200, None)
    pairs = TokenPair.objects.filter(session_id=session_id_of(body), generation=1)
    assert pairs.update(first_used_at=timezone.now() - timedelta(seconds=11)) == 1
    assert_refused(post(anonymous, "users/refresh", old), "Invalid refresh token")
    assert status_with(anonymous, body) == (401, "token_revoked")
    assert AuditEvent.objects.filter(user_id=alice.id, event="refresh_reused").count() == 1


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_cookie_there_is_nothing_to_refresh(anonymous: Api, token: str | None) -> None:
    assert_refused(post(anonymous, "users/refresh", token), "Refresh token not found")


def test_an_access_token_or_nonsense_in_the_cookie_is_401(anonymous: Api, alice: Person) -> None:
    for token in (alice.tokens["access_token"], "nonsense", "a.b.c", "x" * 4000):
        assert_refused(post(anonymous, "users/refresh", token), "Invalid refresh token")


def test_an_expired_cookie_is_told_so(anonymous: Api, alice: Person) -> None:
    issued_at = timezone.now() - timedelta(days=8)
    session = Session.objects.get(user_id=alice.id)
    expired = make_token(
        "refresh", user_id=alice.id, role="user", session_id=session.pk, generation=0, issued_at=issued_at
    )
    assert_refused(post(anonymous, "users/refresh", expired), "Refresh token expired")
    answer = post(anonymous, "users/logout", expired)
    assert answer.status_code == 200
    assert status_with(anonymous, alice.tokens) == (200, None)


def test_a_logout_clears_the_cookie_and_ends_its_session(anonymous: Api, alice: Person) -> None:
    body, token = cookie_login(anonymous, alice)
    answer = post(anonymous, "users/logout", token)
    assert (answer.status_code, answer.json()) == (200, {"message": "Successfully logged out"})
    value, attributes = set_cookie(answer)
    assert value.strip('"') == ""
    assert {"Max-Age=0", "Path=/", "SameSite=Lax"} < attributes
    assert status_with(anonymous, body) == (401, "token_revoked")
    assert_refused(post(anonymous, "users/refresh", token), "Invalid refresh token")
    assert status_with(anonymous, alice.tokens) == (200, None)
    event = AuditEvent.objects.get(user_id=alice.id, event="session_ended")
    assert (event.actor_id, event.details) == (alice.id, {"session": session_id_of(body)})


def test_a_logout_without_a_session_is_200_too(anonymous: Api, alice: Person) -> None:
    nobody = make_token(
        "refresh", user_id=alice.id, role="user", session_id=uuid4(), generation=0, issued_at=timezone.now()
    )
    for token in (None, "nonsense", nobody):
        answer = post(anonymous, "users/logout", token)
        assert (answer.status_code, answer.json()) == (200, {"message": "Successfully logged out"})


@pytest.mark.parametrize("origin", [EVIL, "null", "", "http://localhost:9", "https://127.0.0.1.evil.example.com"])
def test_pages_of_other_sites_are_refused(anonymous: Api, alice: Person, origin: str) -> None:
    body, token = cookie_login(anonymous, alice)
    credentials = {"email": alice.email, "password": alice.password}
    answers = [
        post(anonymous, "users/refresh", token, Origin=origin),
        post(anonymous, "users/logout", token, Origin=origin),
        anonymous.post("users/login", json=credentials, headers={**new_address(), "Origin": origin}),
    ]
    for answer in answers:
        assert_error(answer, 403, "permission_denied", "Requests of other sites are refused")
        assert "Set-Cookie" not in answer.headers
    assert status_with(anonymous, body) == (200, None)
    assert post(anonymous, "users/refresh", token).status_code == 200


def test_this_site_s_pages_and_named_origins_are_let_in(alice: Person, web_with: Callable[..., str]) -> None:
    with Api(web_with(**TWO_PROCESSES)) as api:
        _, token = cookie_login(api, alice)
        for origin in (api.origin, "https://chat.example.com", "https://app.example.com", "http://localhost:3000"):
            assert post(api, "users/refresh", token, Origin=origin).status_code == 200
        elsewhere = re.sub(r"\d+$", "9", api.origin)
        for origin in (EVIL, "http://chat.example.com", "https://app.example.com.evil.com", elsewhere):
            assert post(api, "users/refresh", token, Origin=origin).status_code == 403
