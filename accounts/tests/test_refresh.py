"""POST /auth/refresh: rotation, lost answers and theft."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import jwt
import pytest
from django.conf import settings
from django.utils import timezone

from accounts.login.tokens import access_token_seconds_left, make_token
from accounts.models import AuditEvent, Session, TokenPair, User
from conftest import Api, Person, new_address

Tokens = dict[str, Any]


def refresh(api: Api, token: str) -> httpx2.Response:
    return api.post("auth/refresh", json={"refresh_token": token}, headers=new_address())


def refreshed(api: Api, tokens: Tokens) -> Tokens:
    answer = refresh(api, tokens["refresh_token"])
    assert answer.status_code == 200, answer.text
    body: Tokens = answer.json()
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert body["token_type"] == "bearer"
    return body


def pair_of(tokens: Tokens) -> tuple[str, str]:
    return tokens["access_token"], tokens["refresh_token"]


def claims_of(tokens: Tokens) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return claims


def session_of(tokens: Tokens) -> Session:
    return Session.objects.get(pk=claims_of(tokens)["sid"])


def move_first_use(tokens: Tokens, ago: timedelta) -> None:
    """Set the first use of this pair to that long ago. The pair must have been used."""
    pairs = TokenPair.objects.filter(session=session_of(tokens), generation=claims_of(tokens)["gen"])
    assert pairs.filter(first_used_at__isnull=False).update(first_used_at=timezone.now() - ago) == 1


def use(api: Api, tokens: Tokens) -> int:
    """Make a call with the pair's access token. Returns its status."""
    client = api.signed_in(tokens["access_token"])
    status: int = client.get("auth/me").status_code
    client.close()
    return status


def assert_refused(answer: httpx2.Response) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json() == {
        "detail": "Invalid or expired refresh token",
        "code": "refresh_invalid",
        "request_id": answer.headers["X-Request-ID"],
    }


def assert_stolen(api: Api, alice: Person, *pairs: Tokens) -> None:
    """Assert that the session ended with all its tokens, and that the audit log has the reason once."""
    session = session_of(pairs[0])
    assert session.end_reason == "refresh_reused"
    for tokens in pairs:
        client = api.signed_in(tokens["access_token"])
        answer = client.get("auth/me")
        client.close()
        assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")
        assert_refused(refresh(api, tokens["refresh_token"]))
    event = AuditEvent.objects.get(user_id=alice.id, event="refresh_reused")
    assert (event.actor_id, event.details) == (None, {"session": str(session.pk)})


def test_a_refresh_answers_a_new_pair_of_the_same_session(anonymous: Api, alice: Person) -> None:
    new = refreshed(anonymous, alice.tokens)
    assert not set(pair_of(new)) & set(pair_of(alice.tokens))
    assert claims_of(new)["sid"] == claims_of(alice.tokens)["sid"]
    assert new["expires_in"] == 900
    assert use(anonymous, new) == 200
    assert use(anonymous, alice.tokens) == 200, "an access token lives until it expires"
    assert pair_of(refreshed(anonymous, new)) != pair_of(new)


def test_a_session_is_refreshed_many_times(anonymous: Api, alice: Person) -> None:
    tokens, seen = alice.tokens, set(pair_of(alice.tokens))
    for _ in range(6):
        tokens = refreshed(anonymous, tokens)
        assert not seen & set(pair_of(tokens))
        seen |= set(pair_of(tokens))
        if use(anonymous, tokens) == 200:
            move_first_use(tokens, timedelta(minutes=1))
    assert TokenPair.objects.filter(session=session_of(tokens)).count() <= 4, "the rows of a session are bounded"


def test_the_old_token_again_gets_the_same_pair_while_that_is_unused(anonymous: Api, alice: Person) -> None:
    new = refreshed(anonymous, alice.tokens)
    for _ in range(3):
        assert pair_of(refreshed(anonymous, alice.tokens)) == pair_of(new)
    issued = timezone.now()
    left = [access_token_seconds_left(issued, now=issued + timedelta(seconds=age)) for age in (0, 0.9, 1.1, 900)]
    assert left == [900, 900, 899, 0]
    TokenPair.objects.filter(session=session_of(new)).update(issued_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert refreshed(anonymous, alice.tokens)["expires_in"] == 0
    pairs = TokenPair.objects.filter(session=session_of(new))
    pairs.update(issued_at=timezone.now() - timedelta(minutes=5))
    assert 500 < refreshed(anonymous, alice.tokens)["expires_in"] <= 600, "what is left of the pair that it gives again"
    pairs.update(issued_at=timezone.now() - timedelta(hours=23, minutes=59))
    late = refreshed(anonymous, alice.tokens)
    assert claims_of(late)["gen"] == 1
    assert late["expires_in"] == 0, "the access token of that pair is dead by now, its refresh token is not"
    assert claims_of(refreshed(anonymous, late))["gen"] == 2


def test_a_pair_that_nobody_used_for_24_hours_is_not_given_again(anonymous: Api, alice: Person) -> None:
    new = refreshed(anonymous, alice.tokens)
    pairs = TokenPair.objects.filter(session=session_of(new), generation=1)
    pairs.update(issued_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert_refused(refresh(anonymous, alice.tokens["refresh_token"]))
    assert_stolen(anonymous, alice, new, alice.tokens)


@pytest.mark.parametrize("by", ["access", "refresh"])
def test_for_10_seconds_after_the_first_use_the_same_pair_is_given(anonymous: Api, alice: Person, by: str) -> None:
    new = refreshed(anonymous, alice.tokens)
    if by == "access":
        assert use(anonymous, new) == 200
    else:
        refreshed(anonymous, new)
    move_first_use(new, -timedelta(minutes=1))  # a slow machine has 70 seconds for the next refresh
    assert pair_of(refreshed(anonymous, alice.tokens)) == pair_of(new)
    assert use(anonymous, new) == 200


@pytest.mark.parametrize("by", ["access", "refresh"])
def test_more_than_10_seconds_after_the_first_use_it_is_theft(anonymous: Api, alice: Person, by: str) -> None:
    new = refreshed(anonymous, alice.tokens)
    newest = new
    if by == "access":
        assert use(anonymous, new) == 200
    else:
        newest = refreshed(anonymous, new)
    move_first_use(new, timedelta(seconds=11))
    assert_refused(refresh(anonymous, alice.tokens["refresh_token"]))
    assert_stolen(anonymous, alice, alice.tokens, new, newest)


def test_a_later_use_does_not_begin_the_10_seconds_again(anonymous: Api, alice: Person) -> None:
    new = refreshed(anonymous, alice.tokens)
    assert use(anonymous, new) == 200
    move_first_use(new, timedelta(seconds=11))
    assert use(anonymous, new) == 200
    assert_refused(refresh(anonymous, alice.tokens["refresh_token"]))


def test_a_token_of_long_ago_is_theft(anonymous: Api, alice: Person) -> None:
    tokens = alice.tokens
    for _ in range(4):
        tokens = refreshed(anonymous, tokens)
        assert use(anonymous, tokens) == 200
        move_first_use(tokens, timedelta(hours=1))
    assert_refused(refresh(anonymous, alice.tokens["refresh_token"]))
    assert_stolen(anonymous, alice, tokens, alice.tokens)


def test_theft_ends_only_the_session_that_it_happened_in(anonymous: Api, alice: Person) -> None:
    other = anonymous.post("auth/login", json={"email": alice.email, "password": alice.password}).json()
    new = refreshed(anonymous, alice.tokens)
    assert use(anonymous, new) == 200
    move_first_use(new, timedelta(minutes=1))
    assert_refused(refresh(anonymous, alice.tokens["refresh_token"]))
    assert use(anonymous, other) == 200
    assert use(anonymous, refreshed(anonymous, other)) == 200


def test_20_refreshes_at_once_make_one_pair(anonymous: Api, alice: Person) -> None:
    tokens = alice.tokens
    for generation in (1, 2, 3):
        old = tokens
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _, given=old: refreshed(anonymous, given), range(20)))
        assert len({pair_of(answer) for answer in answers}) == 1
        tokens = answers[0]
        assert session_of(tokens).generation == generation
        assert use(anonymous, tokens) == 200


def test_20_stolen_tokens_at_once_are_one_theft(anonymous: Api, alice: Person) -> None:
    new = refreshed(anonymous, alice.tokens)
    assert use(anonymous, new) == 200
    move_first_use(new, timedelta(seconds=11))
    with ThreadPoolExecutor(20) as pool:
        for answer in pool.map(lambda _: refresh(anonymous, alice.tokens["refresh_token"]), range(20)):
            assert_refused(answer)
    assert_stolen(anonymous, alice, new)


def test_an_access_token_is_no_refresh_token(anonymous: Api, alice: Person) -> None:
    assert_refused(refresh(anonymous, alice.tokens["access_token"]))
    assert use(anonymous, refreshed(anonymous, alice.tokens)) == 200


def token_for(alice: Person, *, user_id: int | None = None, sid: UUID | None = None, **rest: Any) -> str:
    issued_at: datetime = rest.pop("issued_at", timezone.now())
    session = session_of(alice.tokens)
    return make_token(
        "refresh",
        user_id=user_id or alice.id,
        role="user",
        session_id=sid or session.pk,
        generation=rest.pop("generation", 0),
        issued_at=issued_at,
    )


def test_an_expired_token_is_refused_and_the_session_goes_on(anonymous: Api, alice: Person) -> None:
    issued_at = timezone.now() - settings.REFRESH_TOKEN_LIFETIME - timedelta(minutes=1)
    assert_refused(refresh(anonymous, token_for(alice, issued_at=issued_at)))
    assert use(anonymous, alice.tokens) == 200


def test_a_token_of_no_session_or_of_somebody_else_is_refused(anonymous: Api, alice: Person, bob: Person) -> None:
    assert_refused(refresh(anonymous, token_for(alice, sid=uuid4())))
    assert_refused(refresh(anonymous, token_for(alice, user_id=bob.id)))
    assert_refused(refresh(anonymous, token_for(alice, user_id=2**62)))
    assert use(anonymous, alice.tokens) == use(anonymous, bob.tokens) == 200


def test_a_token_signed_with_another_key_is_refused(anonymous: Api, alice: Person) -> None:
    claims = jwt.decode(alice.tokens["refresh_token"], options={"verify_signature": False})
    assert_refused(refresh(anonymous, jwt.encode(claims, "k" * 32, algorithm="HS256")))
    assert_refused(refresh(anonymous, jwt.encode(claims, "", algorithm="none")))
    assert use(anonymous, alice.tokens) == 200


@pytest.mark.parametrize("token", ["x", "a.b.c", "...", "Bearer x", "é漢", "eyJhbGciOiJub25lIn0..", "0" * 4096])
def test_what_is_no_token_is_refused(anonymous: Api, token: str) -> None:
    assert_refused(refresh(anonymous, token))


@pytest.mark.parametrize("body", [{}, {"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": {}}])
def test_no_token_in_the_body_is_422(anonymous: Api, body: dict[str, Any]) -> None:
    answer = anonymous.post("auth/refresh", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["body.refresh_token"]


def test_an_inactive_user_can_not_refresh(anonymous: Api, alice: Person) -> None:
    User.objects.filter(pk=alice.id).update(is_active=False)
    assert_refused(refresh(anonymous, alice.tokens["refresh_token"]))


def test_an_ended_session_can_not_be_refreshed(anonymous: Api, alice: Person) -> None:
    Session.objects.filter(user_id=alice.id).update(ended_at=timezone.now(), end_reason="logout")
    assert_refused(refresh(anonymous, alice.tokens["refresh_token"]))
    assert session_of(alice.tokens).end_reason == "logout"
    assert not AuditEvent.objects.filter(user_id=alice.id, event="refresh_reused").exists()


def test_a_new_pair_lives_as_long_as_a_first_one(anonymous: Api, alice: Person) -> None:
    Session.objects.filter(user_id=alice.id).update(expires_at=timezone.now() + timedelta(minutes=1))
    new = refreshed(anonymous, alice.tokens)
    claims = jwt.decode(new["refresh_token"], options={"verify_signature": False})
    assert int(session_of(new).expires_at.timestamp()) == claims["exp"]
