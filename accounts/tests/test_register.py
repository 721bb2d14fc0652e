"""POST /auth/register."""

from __future__ import annotations

import uuid
from typing import Any

import jwt
import pytest

from accounts.models import AuditEvent, Session, User
from conftest import Api, Person, assert_error, at_once

TAKEN = (400, "email_taken", "Email already registered")


def new_email(local: str = "carol") -> str:
    return f"{local}-{uuid.uuid4().hex[:12]}@example.com"


def test_register_answers_a_token_pair_that_works(anonymous: Api) -> None:
    answer = anonymous.post(
        "auth/register",
        json={"email": new_email(), "password": "long enough", "full_name": "Carol", "device_name": "Carol's phone"},
        headers={"User-Agent": "EdgeChat-iOS/3"},
    )
    body = answer.json()
    assert answer.status_code == 201
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert body["token_type"] == "bearer"
    assert 898 <= body["expires_in"] <= 900
    with anonymous.signed_in(body["access_token"]) as carol:
        me = carol.get("users/me").json()
        assert (me["full_name"], me["role"], me["is_active"], me["is_verified"]) == ("Carol", "user", True, False)
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    session = Session.objects.get(pk=claims["sid"])
    address = anonymous.headers["X-Forwarded-For"]
    assert (session.device_name, session.user_agent, session.ip) == ("Carol's phone", "EdgeChat-iOS/3", address)
    events = AuditEvent.objects.filter(user_id=me["id"]).values_list("event", "ip", "request_id")
    assert list(events) == [("registered", address, answer.headers["X-Request-ID"])]


def test_the_tokens_have_the_claims_of_the_contract(alice: Person) -> None:
    for kind, seconds in (("access", 15 * 60), ("refresh", 7 * 24 * 3600)):
        token = alice.tokens[f"{kind}_token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        assert jwt.get_unverified_header(token)["alg"] == "HS256"
        assert {"sub", "type", "exp", "iat", "jti", "sid", "user_id", "role"} <= set(claims)
        assert (claims["sub"], claims["user_id"], claims["type"]) == (str(alice.id), alice.id, kind)
        assert (claims["role"], claims["exp"] - claims["iat"]) == ("user", seconds)


def test_the_password_is_stored_as_argon2id(alice: Person) -> None:
    assert User.objects.get(pk=alice.id).password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize("change", [str.upper, str.title, lambda email: f"  {email}\n"])
def test_an_email_is_taken_whatever_its_case_and_the_space_around_it(
    anonymous: Api, alice: Person, change: Any
) -> None:
    answer = anonymous.post("auth/register", json={"email": change(alice.email), "password": "long enough"})
    assert_error(answer, *TAKEN)


def test_an_email_is_kept_as_typed_but_for_the_space_around_it(anonymous: Api) -> None:
    email = new_email("Carol.Of.Example")
    body = anonymous.post("auth/register", json={"email": f" {email} ", "password": "long enough"}).json()
    with anonymous.signed_in(body["access_token"]) as carol:
        assert carol.get("auth/me").json()["email"] == email


@pytest.mark.parametrize("local", ["user\u0130", "\u212aarl", "\u017ftefan", "us\u0131r"])
def test_an_email_with_letters_of_unusual_case_can_log_in_as_it_registered(anonymous: Api, local: str) -> None:
    body = {"email": new_email(local), "password": "long enough"}
    if anonymous.post("auth/register", json=body).status_code == 201:
        assert anonymous.post("auth/login", json=body).status_code == 200
        assert_error(anonymous.post("auth/register", json=body), *TAKEN)


def test_one_email_registered_twenty_times_at_once_makes_one_account(web_url: str) -> None:
    email = new_email()

    def register(number: int) -> Any:
        typed = "".join(letter.upper() if number >> (index % 5) & 1 else letter for index, letter in enumerate(email))
        with Api(web_url) as api:
            return api.post("auth/register", json={"email": typed, "password": "long enough"})

    answers = at_once(20, register)
    assert sorted(answer.status_code for answer in answers) == [201] + [400] * 19
    for answer in answers:
        if answer.status_code == 400:
            assert_error(answer, *TAKEN)
    assert User.objects.filter(email__iexact=email).count() == 1


GOOD_PASSWORDS = [
    "12345678",
    "        ",
    "  inner and outer spaces  ",
    "pässwörd",
    "\U0001f600" * 8,
    "x" * 128,
    "\U0001f600" * 128,
    "tab\tnew\nline",
    "secret123",
    "e\u0301" * 4,
]


@pytest.mark.parametrize("password", GOOD_PASSWORDS, ids=ascii)
def test_a_password_of_8_to_128_characters_of_any_kind_logs_in_as_it_is(anonymous: Api, password: str) -> None:
    body = {"email": new_email(), "password": password}
    assert anonymous.post("auth/register", json=body).status_code == 201
    assert anonymous.post("auth/login", json=body).status_code == 200
    for other in (password.strip(), password + " ", password[:-1], password.upper() + "!"):
        if other not in ("", password):
            answer = anonymous.post("auth/login", json={**body, "password": other})
            assert_error(answer, 401, "invalid_credentials", "Invalid email or password")


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("1234567", "Ensure this field has at least 8 characters."),
        ("\U0001f600" * 7, "Ensure this field has at least 8 characters."),
        ("x" * 129, "Ensure this field has no more than 128 characters."),
        ("", "This field may not be blank."),
        (None, "This field may not be null."),
        (["long", "enough"], "Not a valid string."),
        ("with a NUL \x00", "Null characters are not allowed."),
    ],
    ids=ascii,
)
def test_another_password_is_422(anonymous: Api, password: Any, message: str) -> None:
    answer = anonymous.post("auth/register", json={"email": new_email(), "password": password})
    errors = [{"field": "body.password", "message": message}]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


@pytest.mark.parametrize(
    "email",
    ["nobody", "@example.com", "a@", "a b@example.com", "a@b@example.com", f"{'a' * 250}@example.com", "a@-.com"],
)
def test_what_is_no_email_is_422(anonymous: Api, email: str) -> None:
    answer = anonymous.post("auth/register", json={"email": email, "password": "long enough"})
    errors = answer.json()["errors"]
    assert {error["field"] for error in errors} == {"body.email"}
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


def test_null_for_an_optional_field_is_as_good_as_none(anonymous: Api) -> None:
    body = {"email": new_email(), "password": "long enough", "full_name": None, "device_name": None}
    answer = anonymous.post("auth/register", json=body)
    assert answer.status_code == 201
    with anonymous.signed_in(answer.json()["access_token"]) as carol:
        assert carol.get("users/me").json()["full_name"] is None


def test_nobody_registers_as_staff(anonymous: Api) -> None:
    body = {"email": new_email(), "password": "long enough", "is_staff": True, "role": "admin", "is_superuser": True}
    tokens = anonymous.post("auth/register", json=body).json()
    with anonymous.signed_in(tokens["access_token"]) as carol:
        assert carol.get("users/me").json()["role"] == "user"
