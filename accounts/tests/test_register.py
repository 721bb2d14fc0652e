"""POST /auth/register."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from accounts.models import AuditEvent, Session, User
from conftest import Api, new_address

PASSWORD = "correct horse"


def new_email(name: str = "ann") -> str:
    return f"{name}-{uuid.uuid4().hex[:12]}@example.com"


def register(api: Api, **body: Any) -> httpx2.Response:
    # Not `json=`, which cannot write a lone surrogate.
    content = json.dumps({"email": new_email(), "password": PASSWORD, **body})
    return api.post("auth/register", content=content, headers={**new_address(), "Content-Type": "application/json"})


def profile(api: Api, answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    client = api.signed_in(answer.json()["access_token"])
    body: dict[str, Any] = client.get("users/me").json()
    client.close()
    return body


def assert_fields_refused(answer: httpx2.Response, *fields: str) -> None:
    assert answer.status_code == 422, answer.text
    body = answer.json()
    assert list(dict.fromkeys(error["field"] for error in body.pop("errors"))) == list(fields)
    assert body == {
        "detail": "Validation error",
        "code": "validation_error",
        "request_id": answer.headers["X-Request-ID"],
    }


def assert_email_taken(answer: httpx2.Response) -> None:
    assert answer.status_code == 400, answer.text
    assert answer.json() == {
        "detail": "Email already registered",
        "code": "email_taken",
        "request_id": answer.headers["X-Request-ID"],
    }


def test_a_registration_answers_a_token_pair(anonymous: Api) -> None:
    email = new_email()
    answer = register(anonymous, email=email, full_name="Ann Lee", device_name="Ann's phone")
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in", "device_token"}
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 900
    user = profile(anonymous, answer)
    assert user.pop("created_at").endswith("Z")
    assert user.pop("updated_at").endswith("Z")
    assert user == {
        "id": user["id"],
        "email": email,
        "full_name": "Ann Lee",
        "is_active": True,
        "is_verified": False,
        "role": "user",
    }
    session = Session.objects.get(user_id=user["id"])
    assert session.device_name == "Ann's phone"
    assert list(AuditEvent.objects.filter(user_id=user["id"]).values_list("event", "actor_id")) == [
        ("registered", user["id"])
    ]


@pytest.mark.parametrize("change", [str.upper, str.title, str.swapcase, lambda email: f"  {email}\t"])
def test_an_e_mail_in_any_letter_case_is_taken(anonymous: Api, change: Any) -> None:
    email = new_email()
    assert register(anonymous, email=email).status_code == 201
    assert_email_taken(register(anonymous, email=change(email)))


def test_a_domain_with_letters_beyond_ascii_is_one_whatever_its_case(anonymous: Api) -> None:
    local = f"ann-{uuid.uuid4().hex[:12]}"
    assert register(anonymous, email=f"{local}@b\u00fccher.example").status_code == 201
    assert_email_taken(register(anonymous, email=f"{local}@B\u00dcCHER.example"))


def test_of_20_registrations_at_once_in_different_letter_case_one_wins(anonymous: Api) -> None:
    email = new_email("together")
    spellings = [
        "".join(c.upper() if number >> place & 1 else c for place, c in enumerate(email)) for number in range(20)
    ]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda spelling: register(anonymous, email=spelling), spellings))
    made = [answer for answer in answers if answer.status_code == 201]
    assert len(made) == 1
    for answer in answers:
        if answer is not made[0]:
            assert_email_taken(answer)
    assert User.objects.filter(email__iexact=email).count() == 1


def test_the_e_mail_is_kept_as_typed_but_trimmed(anonymous: Api) -> None:
    email = new_email("Ann.LEE")
    assert profile(anonymous, register(anonymous, email=f" \n{email}  "))["email"] == email


@pytest.mark.parametrize(
    "password",
    [
        "12345678",
        "x" * 128,
        "        ",
        "  spaces at the ends  ",
        "\U0001f511" * 8,
        "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 8,
        "Straße é ñ 漢字",
        "tab\tand\nline",
        "\\\"'<>{}%s$1",
    ],
    ids=["shortest", "longest", "blank", "spaces", "emoji", "joined emoji", "letters", "control", "signs"],
)
def test_a_password_is_any_8_to_128_characters(anonymous: Api, password: str) -> None:
    email = new_email()
    assert register(anonymous, email=email, password=password).status_code == 201
    login = anonymous.post("auth/login", json={"email": email, "password": password})
    assert login.status_code == 200
    near = anonymous.post("auth/login", json={"email": email, "password": password.strip() + "."})
    assert near.status_code == 401


@pytest.mark.parametrize(
    "password", ["", "1234567", "\U0001f511" * 7, "x" * 129, None, [], {"a": 1}, True, "NUL\0NUL123"]
)
def test_other_passwords_are_422(anonymous: Api, password: Any) -> None:
    assert_fields_refused(register(anonymous, password=password), "body.password")


@pytest.mark.parametrize(
    "email",
    [
        *("", " ", "ann", "ann@", "@example.com", "a b@example.com", "ann@example", "a@b@example.com", None, 7, [], {}),
        *("a\0nn@example.com", "ann@example.com\0", "x" * 250 + "@example.com"),
        "ann@example.com\r\nBcc: b@example.com",
    ],
)
def test_other_e_mails_are_422(anonymous: Api, email: Any) -> None:
    assert_fields_refused(register(anonymous, email=email), "body.email")


def test_all_faulty_fields_are_told_at_once(anonymous: Api) -> None:
    answer = anonymous.post("auth/register", json={"full_name": "x" * 256, "device_name": "x" * 101})
    assert_fields_refused(answer, "body.email", "body.password", "body.full_name", "body.device_name")


@pytest.mark.parametrize("nothing", [None, "", "   "])
def test_optional_fields_may_be_null_or_blank(anonymous: Api, nothing: str | None) -> None:
    user = profile(anonymous, register(anonymous, full_name=nothing, device_name=nothing))
    assert user["full_name"] is None
    assert Session.objects.get(user_id=user["id"]).device_name == ""


def test_unknown_fields_are_ignored(anonymous: Api) -> None:
    rights = {"is_staff": True, "is_superuser": True, "role": "admin", "is_verified": True, "id": 1, "": 0, "\ud800": 1}
    user = profile(anonymous, register(anonymous, **rights))
    assert (user["role"], user["is_verified"]) == ("user", False)
    assert User.objects.get(pk=user["id"]).is_superuser is False


@pytest.mark.parametrize("field", ["email", "password", "full_name", "device_name"])
@pytest.mark.parametrize("text", ["\0", "\ud800", "\udfff\ud800"], ids=["NUL", "lone surrogate", "wrong order"])
def test_text_that_is_no_text_is_422(anonymous: Api, field: str, text: str) -> None:
    values = {"email": new_email(), "password": PASSWORD, "full_name": "Ann", "device_name": "phone"}
    values[field] = text + values[field]
    assert_fields_refused(register(anonymous, **values), f"body.{field}")


def test_a_wrong_token_does_not_hinder_a_registration(anonymous: Api) -> None:
    anonymous.headers["Authorization"] = "Bearer no.such.token"
    assert register(anonymous).status_code == 201
