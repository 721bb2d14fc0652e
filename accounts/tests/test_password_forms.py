"""Passwords are equal in every Unicode form that keyboards send."""

from __future__ import annotations

import unicodedata

import bcrypt
import pytest
from django.contrib.auth.hashers import make_password

from accounts.models import User
from accounts.tests.logins import log_in, new_email
from conftest import Api, Person

# The password as typed, and as another keyboard sends it.
FORMS = [
    ("Fu\u0308\u00dfe im Meer", "F\u00fc\u00dfe im Meer"),
    ("\uff50\uff41\uff53\uff53 \uff57\uff4f\uff52\uff44", "pass word"),
    (
        "\ud55c\uad6d\uc5b4 \ube44\ubc00\ubc88\ud638",
        unicodedata.normalize("NFD", "\ud55c\uad6d\uc5b4 \ube44\ubc00\ubc88\ud638"),
    ),
    ("\u2460\u2461\u2462 \ufb01sh \u212b", "123 fish \u00c5"),
    ("no\u00a0break space", "no break space"),
]


@pytest.mark.parametrize(("typed", "other"), [*FORMS, *((other, typed) for typed, other in FORMS)])
def test_a_password_is_known_in_every_form(anonymous: Api, typed: str, other: str) -> None:
    email = new_email()
    assert anonymous.post("auth/register", json={"email": email, "password": typed}).status_code == 201
    for path in ("auth/login", "auth/signin", "users/login"):
        assert log_in(anonymous, email, other, path).status_code == 200
        assert log_in(anonymous, email, typed, path).status_code == 200
    assert log_in(anonymous, email, typed + "x").status_code == 401
    tokens = log_in(anonymous, email, typed).json()
    client = anonymous.signed_in(tokens["access_token"])
    change = {"password": "another " + typed, "current_password": other}
    assert client.patch("users/me", json=change).status_code == 200
    assert log_in(anonymous, email, "another " + other).status_code == 200
    client.close()


@pytest.mark.parametrize("kind", ["argon2", "bcrypt"])
def test_a_hash_of_before_logs_in_as_typed_and_is_made_anew(anonymous: Api, kind: str) -> None:
    typed, other = FORMS[0]
    hashed = {
        "argon2": make_password(typed),
        "bcrypt": "bcrypt$" + bcrypt.hashpw(typed.encode(), bcrypt.gensalt(4)).decode(),
    }[kind]
    email = new_email()
    user = User.objects.create(email=email, password=hashed)
    assert log_in(anonymous, email, other).status_code == 401, "the other form was never hashed"
    assert log_in(anonymous, email, typed).status_code == 200
    user.refresh_from_db()
    renewed = user.password
    assert renewed != hashed
    for form in (other, typed):
        assert log_in(anonymous, email, form).status_code == 200
    user.refresh_from_db()
    assert user.password == renewed, "it is of the present kind now"


def test_an_imported_hash_of_the_normalized_form_logs_in_in_both(anonymous: Api) -> None:
    typed, other = FORMS[0]
    email = new_email()
    User.objects.create(email=email, password="bcrypt$" + bcrypt.hashpw(other.encode(), bcrypt.gensalt(4)).decode())
    assert log_in(anonymous, email, typed).status_code == 200
    assert log_in(anonymous, email, other).status_code == 200


@pytest.mark.parametrize(
    ("password", "is_accepted"),
    [
        ("u\u0308" * 8, True),
        ("u\u0308" * 4, False),
        ("u\u0308" * 128, True),
        ("u\u0308" * 129, False),
        ("\u00fc" * 128, True),
        ("\ufb03" * 3, True),
        ("\ufdfa" * 8, False),
        ("\u1100\u1161" * 7, False),
        ("u" + "\u0308" * 2000, False),
    ],
)
def test_the_length_is_that_of_what_is_hashed(anonymous: Api, alice: Person, password: str, is_accepted: bool) -> None:
    answer = anonymous.post("auth/register", json={"email": new_email(), "password": password})
    assert answer.status_code == (201 if is_accepted else 422)
    if not is_accepted:
        assert [error["field"] for error in answer.json()["errors"]] == ["body.password"]
        change = alice.patch("users/me", json={"password": password, "current_password": alice.password})
        assert [error["field"] for error in change.json()["errors"]] == ["body.password"]
