"""Access tokens: the accepted claims, and 401 for everything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest
from django.conf import settings
from django.utils import timezone

from accounts.login.tokens import LATE_SECONDS, make_token
from accounts.models import Session, User
from conftest import Api, Person, new_address

CLAIMS = ("sub", "type", "exp", "iat", "jti", "sid", "gen")


def claims_of(person: Person) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(person.tokens["access_token"], options={"verify_signature": False})
    return claims


def signed(claims: dict[str, Any], key: str | None = None, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, settings.JWT_SECRET if key is None else key, algorithm=algorithm)


def ask(api: Api, authorization: str | bytes, path: str = "auth/me") -> httpx2.Response:
    return api.get(path, headers={**new_address(), "Authorization": authorization})  # type: ignore[arg-type]


def assert_401(answer: httpx2.Response, code: str = "not_authenticated") -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    body = answer.json()
    assert set(body) == {"detail", "code", "request_id"}
    assert (body["code"], body["request_id"]) == (code, answer.headers["X-Request-ID"])


def test_a_token_that_we_sign_ourselves_is_believed(anonymous: Api, alice: Person) -> None:
    """Otherwise the rejections below would prove nothing."""
    assert ask(anonymous, f"Bearer {signed(claims_of(alice))}").status_code == 200


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_s_letter_case_does_not_matter(anonymous: Api, alice: Person, scheme: str) -> None:
    assert ask(anonymous, f"{scheme} {alice.tokens['access_token']}").status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer a b",
        "Basic YTpi",
        "Token x",
        "x",
        "é",
        "Bearer " + "x" * 6000,
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer bnVsbA.bnVsbA.",
        "Bearer é.ÿ.é",
    ],
)
def test_what_is_no_token_is_401(anonymous: Api, authorization: str) -> None:
    assert_401(ask(anonymous, authorization.encode("latin-1")))


@pytest.mark.parametrize("path", ["users/me", "chat/conversations", "ai/models", "usage/me"])
def test_without_a_token_is_401(anonymous: Api, path: str) -> None:
    assert_401(anonymous.get(path))


def test_an_unsigned_token_is_401(anonymous: Api, alice: Person) -> None:
    assert_401(ask(anonymous, f"Bearer {jwt.encode(claims_of(alice), '', algorithm='none')}"))
    header, payload, _ = alice.tokens["access_token"].split(".")
    assert_401(ask(anonymous, f"Bearer {header}.{payload}."))
    assert_401(ask(anonymous, f"Bearer {header}.{payload}.AAAA"))


def test_a_token_signed_with_another_key_or_algorithm_is_401(anonymous: Api, alice: Person) -> None:
    assert_401(ask(anonymous, f"Bearer {signed(claims_of(alice), 'k' * 64)}"))
    assert_401(ask(anonymous, f"Bearer {signed(claims_of(alice), settings.SECRET_KEY)}"))
    longer = settings.JWT_SECRET * 2
    assert_401(ask(anonymous, f"Bearer {signed(claims_of(alice), longer, 'HS512')}"))


def test_a_refresh_token_is_no_access_token(anonymous: Api, alice: Person) -> None:
    assert_401(ask(anonymous, f"Bearer {alice.tokens['refresh_token']}"))
    assert_401(ask(anonymous, f"Bearer {signed({**claims_of(alice), 'type': 'Access'})}"))


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_token_that_lacks_a_claim_is_401(anonymous: Api, alice: Person, claim: str) -> None:
    claims = claims_of(alice)
    del claims[claim]
    assert_401(ask(anonymous, f"Bearer {signed(claims)}"))


# Any text is a valid jti, and any number a valid time.
PROPER = (("jti", "x"), ("jti", ""), ("exp", 2**70), ("iat", -1))
ANYTHING: list[Any] = [None, [], {}, "x", -1, "", 2**70]
OF_ANOTHER_KIND: list[tuple[str, Any]] = [
    (claim, value) for claim in CLAIMS for value in ANYTHING if (claim, value) not in PROPER
]


@pytest.mark.parametrize(("claim", "value"), OF_ANOTHER_KIND)
def test_a_claim_of_another_kind_is_401(anonymous: Api, alice: Person, claim: str, value: Any) -> None:
    # Without `jwt.encode`, which rejects some of these values.
    payload = json.dumps({**claims_of(alice), claim: value}).encode()
    answer = ask(anonymous, f"Bearer {jwt.api_jws.encode(payload, settings.JWT_SECRET)}")
    assert_401(answer, "token_expired" if (claim, value) == ("exp", -1) else "not_authenticated")


def test_a_session_that_is_not_there_or_is_somebody_else_s_is_revoked(
    anonymous: Api, alice: Person, bob: Person
) -> None:
    for change in ({"sid": str(uuid4())}, {"sid": claims_of(bob)["sid"]}, {"sub": str(bob.id)}, {"sub": str(2**62)}):
        answer = ask(anonymous, f"Bearer {signed({**claims_of(alice), **change})}")
        assert_401(answer, "token_revoked")


def test_the_user_id_and_role_for_older_clients_are_not_believed(anonymous: Api, alice: Person, bob: Person) -> None:
    forged = signed({**claims_of(alice), "user_id": bob.id, "role": "admin"})
    answer = ask(anonymous, f"Bearer {forged}", "users/me")
    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["role"]) == (alice.id, "user")


def test_an_expired_token_says_so(anonymous: Api, alice: Person) -> None:
    expired = make_token(
        "access",
        user_id=alice.id,
        role="user",
        session_id=Session.objects.get(user_id=alice.id).pk,
        generation=0,
        issued_at=timezone.now() - settings.ACCESS_TOKEN_LIFETIME - timedelta(minutes=1),
    )
    answer = ask(anonymous, f"Bearer {expired}")
    assert_401(answer, "token_expired")
    assert answer.json()["detail"] == "The access token has expired"


def test_a_token_that_was_accepted_expires_nevertheless(
    anonymous: Api, alice: Person, eventually: Callable[..., Any]
) -> None:
    token = signed({**claims_of(alice), "exp": int(timezone.now().timestamp()) + 2 - LATE_SECONDS})
    refused = eventually(lambda: (answer := ask(anonymous, f"Bearer {token}")).status_code != 200 and answer)
    assert_401(refused, "token_expired")


def test_an_expired_token_of_another_key_does_not_say_so(anonymous: Api, alice: Person) -> None:
    assert_401(ask(anonymous, f"Bearer {signed({**claims_of(alice), 'exp': 1}, 'k' * 64)}"))


def test_a_deactivated_user_s_tokens_are_revoked_at_once(alice: Person) -> None:
    assert alice.get("auth/me").status_code == 200
    User.objects.filter(pk=alice.id).update(is_active=False)
    assert_401(alice.get("auth/me"), "token_revoked")
    User.objects.filter(pk=alice.id).update(is_active=True)
    assert alice.get("auth/me").status_code == 200


def test_an_ended_session_s_tokens_are_revoked_at_once_on_every_process(alice: Person) -> None:
    assert {alice.get("auth/me").status_code for _ in range(6)} == {200}
    Session.objects.filter(user_id=alice.id).update(ended_at=timezone.now(), end_reason="logout")
    for _ in range(6):
        assert_401(alice.get("auth/me"), "token_revoked")


def test_a_promotion_counts_at_once_and_is_told(alice: Person) -> None:
    User.objects.filter(pk=alice.id).update(is_staff=True)
    assert alice.get("users/me").json()["role"] == "admin"


def test_last_used_is_kept_to_the_minute(alice: Person) -> None:
    before = timezone.now() - timedelta(minutes=5)
    Session.objects.filter(user_id=alice.id).update(last_used_at=before)
    alice.get("auth/me")
    assert Session.objects.get(user_id=alice.id).last_used_at > before
    # A time to come, so that the next request comes within the minute on a slow machine too.
    soon = timezone.now() + timedelta(minutes=5)
    Session.objects.filter(user_id=alice.id).update(last_used_at=soon)
    alice.get("auth/me")
    assert Session.objects.get(user_id=alice.id).last_used_at == soon
