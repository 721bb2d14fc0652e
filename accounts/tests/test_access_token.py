"""What is and what is not an access token."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import Session
from conftest import Api, Person, assert_error

INVALID = (401, "not_authenticated", "The access token is not valid")
EXPIRED = (401, "token_expired", "The access token has expired")
REVOKED = (401, "token_revoked", "The session has ended")
NONE = (401, "not_authenticated", "Not authenticated")


def claims_of(person: Person) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(person.tokens["access_token"], options={"verify_signature": False})
    return claims


def signed(claims: dict[str, Any], *, key: str | None = None, algorithm: str = "HS256", **headers: Any) -> str:
    return jwt.encode(claims, key or settings.JWT_SECRET, algorithm=algorithm, headers=headers or None)


def without_signature(claims: dict[str, Any], algorithm: str) -> str:
    parts = ({"alg": algorithm, "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def test_a_token_made_like_the_servers_own_is_accepted(alice: Person) -> None:
    with alice.signed_in(signed(claims_of(alice))) as api:
        assert api.get("auth/me").json()["id"] == alice.id


@pytest.mark.parametrize("header", ["", "Bearer", "Basic YTpi", "bearertoken", "Token x", "Digest"])
def test_a_header_that_is_no_bearer_token_is_401(anonymous: Api, header: str) -> None:
    answer = anonymous.get("auth/me", headers={"Authorization": header})
    assert_error(answer, *NONE)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
def test_the_scheme_is_known_in_any_case(alice: Person, scheme: str) -> None:
    answer = alice.get("auth/me", headers={"Authorization": f"{scheme} {alice.tokens['access_token']}"})
    assert answer.status_code == 200


FORGERIES: dict[str, Callable[[dict[str, Any]], str]] = {
    "no jwt": lambda _: "nonsense",
    "three dots": lambda _: "...",
    "latin-1": lambda _: "\xe9\xe9\xe9",
    "two tokens": lambda claims: f"{signed(claims)} {signed(claims)}",
    "cut short": lambda claims: signed(claims)[:-4],
    "another key": lambda claims: signed(claims, key="another key of thirty-two bytes or more"),
    "django's key": lambda claims: signed(claims, key=settings.SECRET_KEY),
    "another algorithm": lambda claims: signed(claims, algorithm="HS512"),
    "alg none": lambda claims: without_signature(claims, "none"),
    "alg None": lambda claims: without_signature(claims, "None"),
    "no signature": lambda claims: without_signature(claims, "HS256"),
    "refresh token": lambda claims: signed({**claims, "type": "refresh"}),
    "other type": lambda claims: signed({**claims, "type": ["access"]}),
    "not yet": lambda claims: signed({**claims, "nbf": time.time() + 3600}),
    "exp is text": lambda claims: signed({**claims, "exp": "tomorrow"}),
    "sub is no number": lambda claims: signed({**claims, "sub": "alice"}),
    "sub is zero": lambda claims: signed({**claims, "sub": "0"}),
    "sub is huge": lambda claims: signed({**claims, "sub": "9" * 30}),
    "sid is no uuid": lambda claims: signed({**claims, "sid": "1"}),
    "sid is a list": lambda claims: signed({**claims, "sid": [claims["sid"]]}),
    "gen is negative": lambda claims: signed({**claims, "gen": -1}),
    "gen is huge": lambda claims: signed({**claims, "gen": 2**63}),
    "gen is text": lambda claims: signed({**claims, "gen": "0"}),
} | {
    f"without {name}": lambda claims, name=name: signed({key: claims[key] for key in claims if key != name})
    for name in ("sub", "type", "exp", "iat", "jti", "sid")
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_token_is_401(alice: Person, forgery: Callable[[dict[str, Any]], str]) -> None:
    header = f"Bearer {forgery(claims_of(alice))}".encode("latin-1")
    answer = alice.get("auth/me", headers={b"Authorization": header})
    assert_error(answer, *INVALID)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_an_expired_token_says_so(alice: Person) -> None:
    token = signed({**claims_of(alice), "exp": int(time.time()) - 60, "iat": int(time.time()) - 960})
    answer = alice.get("auth/me", headers={"Authorization": f"Bearer {token}"})
    assert_error(answer, *EXPIRED)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_session_that_is_not_the_users_counts_as_ended(alice: Person, bob: Person) -> None:
    for sid in (claims_of(bob)["sid"], str(uuid.uuid4())):
        token = signed({**claims_of(alice), "sid": sid})
        answer = alice.get("auth/me", headers={"Authorization": f"Bearer {token}"})
        assert_error(answer, *REVOKED)


def test_an_ended_session_ends_its_tokens_at_once(alice: Person) -> None:
    Session.objects.filter(user_id=alice.id).update(ended_at=timezone.now())
    answer = alice.get("auth/me")
    assert_error(answer, *REVOKED)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("claim", [{"user_id": 1}, {"role": "admin"}, {"user_id": "x", "role": None}])
def test_what_older_clients_read_is_never_believed(alice: Person, claim: dict[str, Any]) -> None:
    with alice.signed_in(signed({**claims_of(alice), **claim})) as api:
        me = api.get("users/me").json()
        assert (me["id"], me["role"]) == (alice.id, "user")


def test_last_used_is_kept_to_the_minute(alice: Person) -> None:
    before = timezone.now() - timedelta(minutes=5)
    Session.objects.filter(user_id=alice.id).update(last_used_at=before)
    alice.get("auth/me")
    first = Session.objects.get(user_id=alice.id).last_used_at
    assert timezone.now() - first < timedelta(minutes=1)
    alice.get("auth/me")
    assert Session.objects.get(user_id=alice.id).last_used_at == first
