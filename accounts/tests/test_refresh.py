"""POST /auth/refresh: rotation, its grace, and reuse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import jwt
import pytest
from django.utils import timezone

from accounts.models import AuditEvent, Session, TokenPair
from conftest import Person, assert_error, at_once

INVALID = (401, "refresh_invalid", "Invalid or expired refresh token")


def refresh(person: Person, token: str) -> httpx2.Response:
    return person.post("auth/refresh", json={"refresh_token": token})


def tokens_of(answer: httpx2.Response) -> dict[str, str]:
    body: dict[str, Any] = answer.json()
    assert answer.status_code == 200, answer.text
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert body["token_type"] == "bearer"
    assert 0 <= body.pop("expires_in") <= 900
    return body


def uses(person: Person, token: str) -> int:
    return person.get("auth/me", headers={"Authorization": f"Bearer {token}"}).status_code


def pairs(person: Person) -> Any:
    return TokenPair.objects.filter(session__user_id=person.id)


def assert_theft(person: Person, token: str) -> None:
    """This token is refused as stolen: its session is over, and one row of the audit log says so."""
    newest = TokenPair.objects.filter(session__user_id=person.id).latest("generation").generation
    answer = refresh(person, token)
    assert_error(answer, *INVALID)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert_error(person.get("auth/me"), 401, "token_revoked", "The session has ended")
    session = Session.objects.get(user_id=person.id)
    assert (session.ended_at is not None, session.end_reason) == (True, "refresh_reused")
    assert newest == session.generation
    for _ in range(2):
        assert_error(refresh(person, token), *INVALID)
    event = AuditEvent.objects.get(user_id=person.id, event="refresh_reused")
    assert event.details == {"session": str(session.pk)}
    assert (event.ip, event.request_id) == (answer.request.headers["X-Forwarded-For"], answer.headers["X-Request-ID"])


def test_refresh_answers_a_new_pair_of_the_same_session(alice: Person) -> None:
    new = tokens_of(refresh(alice, alice.tokens["refresh_token"]))
    assert new["access_token"] != alice.tokens["access_token"]
    assert new["refresh_token"] != alice.tokens["refresh_token"]
    assert uses(alice, new["access_token"]) == uses(alice, alice.tokens["access_token"]) == 200
    sids = {
        jwt.decode(token, options={"verify_signature": False})["sid"]
        for token in (new["access_token"], new["refresh_token"], alice.tokens["access_token"])
    }
    assert len(sids) == 1
    assert tokens_of(refresh(alice, new["refresh_token"]))["refresh_token"] != new["refresh_token"]


def test_the_old_token_gives_the_same_pair_until_it_is_used(alice: Person) -> None:
    old = alice.tokens["refresh_token"]
    new = tokens_of(refresh(alice, old))
    pairs(alice).filter(generation=1).update(issued_at=timezone.now() - timedelta(hours=23, minutes=59))
    again = [tokens_of(refresh(alice, old)) for _ in range(3)]
    assert again[0] == again[1] == again[2]
    # The pair follows from its time of issue, which the test has moved.
    pairs(alice).filter(generation=1).update(issued_at=pair_time(new["refresh_token"]))
    assert tokens_of(refresh(alice, old)) == new
    assert uses(alice, new["access_token"]) == 200


def pair_time(token: str) -> datetime:
    claims = jwt.decode(token, options={"verify_signature": False})
    return datetime.fromtimestamp(claims["iat"], UTC)


def test_an_unused_successor_is_given_for_a_day_at_most(alice: Person) -> None:
    tokens_of(refresh(alice, alice.tokens["refresh_token"]))
    pairs(alice).filter(generation=1).update(issued_at=timezone.now() - timedelta(hours=24, seconds=5))
    assert_theft(alice, alice.tokens["refresh_token"])


@pytest.mark.parametrize("use", ["access", "refresh"])
def test_ten_seconds_after_the_first_use_of_the_successor_the_old_token_is_theft(alice: Person, use: str) -> None:
    old = alice.tokens["refresh_token"]
    new = tokens_of(refresh(alice, old))
    assert pairs(alice).get(generation=1).first_used_at is None
    if use == "access":
        assert uses(alice, new["access_token"]) == 200
    else:
        tokens_of(refresh(alice, new["refresh_token"]))
    used_at = pairs(alice).get(generation=1).first_used_at
    assert used_at is not None
    assert tokens_of(refresh(alice, old)) == new
    assert uses(alice, new["access_token"]) == 200
    assert pairs(alice).get(generation=1).first_used_at == used_at
    pairs(alice).filter(generation=1).update(first_used_at=timezone.now() - timedelta(seconds=11))
    assert_theft(alice, old)


def test_within_the_grace_after_the_first_use_the_same_pair_is_given(alice: Person) -> None:
    old = alice.tokens["refresh_token"]
    new = tokens_of(refresh(alice, old))
    pairs(alice).filter(generation=1).update(first_used_at=timezone.now() - timedelta(seconds=5))
    assert tokens_of(refresh(alice, old)) == new
    assert uses(alice, new["access_token"]) == 200


def test_a_token_of_two_generations_ago_is_theft(alice: Person) -> None:
    first = alice.tokens["refresh_token"]
    second = tokens_of(refresh(alice, first))["refresh_token"]
    third = tokens_of(refresh(alice, second))["refresh_token"]
    pairs(alice).filter(generation=1).update(first_used_at=timezone.now() - timedelta(seconds=11))
    tokens_of(refresh(alice, third))
    assert_theft(alice, first)


def test_the_newest_token_refreshes_long_after_its_first_use(alice: Person) -> None:
    pairs(alice).update(first_used_at=timezone.now() - timedelta(days=6))
    new = tokens_of(refresh(alice, alice.tokens["refresh_token"]))
    assert uses(alice, new["access_token"]) == 200


def test_a_session_keeps_few_pairs_however_often_it_is_refreshed(alice: Person) -> None:
    token = alice.tokens["refresh_token"]
    for _ in range(6):
        token = tokens_of(refresh(alice, token))["refresh_token"]
        pairs(alice).filter(first_used_at__isnull=False).update(first_used_at=timezone.now() - timedelta(seconds=60))
    assert pairs(alice).count() <= 3


def test_twenty_refreshes_at_once_give_one_pair(alice: Person) -> None:
    answers = at_once(20, lambda _: tokens_of(refresh(alice, alice.tokens["refresh_token"])))
    assert [answer == answers[0] for answer in answers] == [True] * 20
    assert sorted(pairs(alice).values_list("generation", flat=True)) == [0, 1]
    assert uses(alice, answers[0]["access_token"]) == 200
    assert not AuditEvent.objects.filter(user_id=alice.id, event="refresh_reused").exists()


def test_theft_in_one_session_leaves_the_others(alice: Person) -> None:
    other = alice.post("auth/login", json={"email": alice.email, "password": alice.password}).json()
    new = tokens_of(refresh(alice, alice.tokens["refresh_token"]))
    assert uses(alice, new["access_token"]) == 200
    pairs(alice).filter(generation=1).update(first_used_at=timezone.now() - timedelta(seconds=11))
    assert_error(refresh(alice, alice.tokens["refresh_token"]), *INVALID)
    assert uses(alice, new["access_token"]) == uses(alice, alice.tokens["access_token"]) == 401
    assert_error(refresh(alice, new["refresh_token"]), *INVALID)
    assert uses(alice, other["access_token"]) == 200
    tokens_of(refresh(alice, other["refresh_token"]))


BAD: dict[str, Callable[[Person], str]] = {
    "no jwt": lambda _: "nonsense",
    "an access token": lambda person: person.tokens["access_token"],
    "cut short": lambda person: person.tokens["refresh_token"][:-3],
    "not ascii": lambda _: "é",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_is_no_refresh_token_is_401_and_harms_nothing(alice: Person, bad: Callable[[Person], str]) -> None:
    answer = refresh(alice, bad(alice))
    assert_error(answer, *INVALID)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert alice.get("auth/me").status_code == 200


@pytest.mark.parametrize("body", [{}, {"refresh_token": ""}, {"refresh_token": None}, {"refresh_token": "x" * 4097}])
def test_no_token_at_all_is_422(alice: Person, body: dict[str, Any]) -> None:
    answer = alice.post("auth/refresh", json=body)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["body.refresh_token"])
