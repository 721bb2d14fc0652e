"""Password resets and the verification of e-mail addresses."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import signing

from accounts.login.login_lock import begin_login
from accounts.models import AuditEvent, User
from accounts.recovery import emailed_tokens
from accounts.recovery.emailed_tokens import make_emailed_token
from accounts.tests.mails import mail_settings, mails_to
from conftest import Api, Person, assert_error, at_once
from edgechat.tests.web_settings import TWO_PROCESSES

Register = Callable[..., Person]
SENT = {"message": "If there is something to send, an e-mail is on its way"}
BAD = [{"field": "body.token", "message": "This is not valid, has expired, or was used already."}]
NEW = "a new password"


def user_of(person: Person) -> User:
    return User.objects.get(pk=person.id)


@pytest.fixture
def mail_web(web_with: Callable[..., str]) -> str:
    """The URL of a server that writes its e-mails to files."""
    return web_with(**mail_settings())


@pytest.fixture
def ann(mail_web: str, register: Callable[..., Person]) -> Person:
    return register("ann", mail_web)


def token_in(text: str) -> str:
    [token] = re.findall(r"#token=(\S+)", text)
    return str(token)


def test_without_a_mail_server_only_the_mail_is_missing(web_with: Callable[..., str], register: Register) -> None:
    ann = register("ann", web_with(**TWO_PROCESSES))
    answer = ann.post("auth/password/forgot", json={"email": ann.email})
    assert (answer.status_code, answer.json()) == (202, SENT)
    answer = ann.post("auth/email/resend")
    assert (answer.status_code, answer.json()) == (202, SENT)
    assert ann.get("auth/me").status_code == 200


def test_a_forgotten_password_is_reset_by_mail_and_ends_all_sessions(
    ann: Person, eventually: Callable[..., Any]
) -> None:
    with Api(ann.origin) as anonymous:
        answer = anonymous.post("auth/password/forgot", json={"email": ann.email.upper()})
        assert (answer.status_code, answer.json()) == (202, SENT)
        [text] = eventually(lambda: mails_to(ann.email, "Reset your password"))
        assert "https://chat.example.com/reset-password#token=" in text
        body = {"token": token_in(text), "password": NEW}
        done = anonymous.post("auth/password/reset", json=body)
        assert (done.status_code, done.json()["message"]) == (200, "The password was changed")
        assert_error(ann.get("auth/me"), 401, "token_revoked", "The session has ended")
        again = anonymous.post("auth/password/reset", json=body)
        assert_error(again, 422, "validation_error", "Validation error", errors=BAD)
        assert anonymous.post("auth/login", json={"email": ann.email, "password": NEW}).status_code == 200
        old = anonymous.post("auth/login", json={"email": ann.email, "password": ann.password})
        assert old.status_code == 401
    event = AuditEvent.objects.get(user_id=ann.id, event="password_changed")
    assert (event.actor_id, event.details) == (ann.id, {"by": "password_reset"})


def test_who_resets_the_password_can_log_in_at_once(alice: Person, anonymous: Api) -> None:
    for _ in range(5):
        begin_login(alice.email.upper()).fail()
    body = {"token": make_emailed_token(user_of(alice), "reset"), "password": NEW}
    assert anonymous.post("auth/password/reset", json=body).status_code == 200
    assert anonymous.post("auth/login", json={"email": alice.email, "password": NEW}).status_code == 200


def test_who_asks_for_an_unknown_address_gets_the_same_answer(
    ann: Person, mail_web: str, eventually: Callable[..., Any]
) -> None:
    unknown = f"nobody-{uuid.uuid4().hex[:12]}@example.com"
    with Api(mail_web) as anonymous:
        answers = [anonymous.post("auth/password/forgot", json={"email": each}) for each in (unknown, ann.email)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(202, SENT)] * 2
    eventually(lambda: mails_to(ann.email, "Reset"))
    assert mails_to(unknown, "") == []


def test_one_user_gets_few_mails_whatever_the_spelling(
    mail_web: str, eventually: Callable[..., Any], register: Register
) -> None:
    iris = register("iiii", mail_web)
    spellings = ["iiii", "Iiii", "iIii", "iiIi", "IiIi", "IIII", "iiiI", "iiii"]
    for spelling in spellings:
        email = iris.email.replace("iiii", spelling)
        assert iris.post("auth/password/forgot", json={"email": email}).status_code == 202
    last = register("last", mail_web)
    eventually(lambda: mails_to(last.email, "Verify"))
    eventually(lambda: len(mails_to(iris.email, "Reset")) == 5)


def test_those_who_forgot_a_password_use_up_nobody_s_verification(ann: Person, eventually: Callable[..., Any]) -> None:
    for _ in range(7):
        assert ann.post("auth/password/forgot", json={"email": ann.email}).status_code == 202
    eventually(lambda: len(mails_to(ann.email, "Reset")) == 5)
    for _ in range(7):
        assert ann.post("auth/email/resend").status_code == 202
    eventually(lambda: len(mails_to(ann.email, "Verify")) == 5)
    assert ann.post("auth/password/forgot", json={"email": ann.email}).status_code == 202
    assert len(mails_to(ann.email, "")) == 10


def test_the_address_is_verified_by_the_mail_of_the_registration(ann: Person, eventually: Callable[..., Any]) -> None:
    [text] = eventually(lambda: mails_to(ann.email, "Verify your e-mail address"))
    body = {"token": token_in(text)}
    assert ann.get("users/me").json()["is_verified"] is False
    with Api(ann.origin) as anonymous:
        done = anonymous.post("auth/email/verify", json=body)
        assert (done.status_code, done.json()) == (200, {"message": "The e-mail address is verified"})
        again = anonymous.post("auth/email/verify", json=body)
        assert_error(again, 422, "validation_error", "Validation error", errors=BAD)
    assert ann.get("users/me").json()["is_verified"] is True


def test_the_verification_is_sent_again(ann: Person, eventually: Callable[..., Any]) -> None:
    eventually(lambda: mails_to(ann.email, "Verify"))
    answer = ann.post("auth/email/resend")
    assert (answer.status_code, answer.json()) == (202, SENT)
    eventually(lambda: len(mails_to(ann.email, "Verify")) == 2)


def test_resending_needs_a_token(anonymous: Api) -> None:
    assert_error(anonymous.post("auth/email/resend"), 401, "not_authenticated", "Not authenticated")


def test_tokens_are_good_for_their_purpose_alone(alice: Person, anonymous: Api) -> None:
    user = user_of(alice)
    reset, verify = make_emailed_token(user, "reset"), make_emailed_token(user, "verify")
    forged = signing.dumps({"user": user.pk, "state": "0" * 64}, salt="accounts.emailed_tokens.reset", key="forged")
    for bad in (verify, forged, reset[:-1], "x", alice.tokens["access_token"]):
        answer = anonymous.post("auth/password/reset", json={"token": bad, "password": NEW})
        assert_error(answer, 422, "validation_error", "Validation error", errors=BAD)
    answer = anonymous.post("auth/email/verify", json={"token": reset})
    assert_error(answer, 422, "validation_error", "Validation error", errors=BAD)
    assert user_of(alice).password == user.password


def test_tokens_expire(alice: Person, anonymous: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    user, now = user_of(alice), time.time()
    for purpose, path, age in (("reset", "password/reset", 3600), ("verify", "email/verify", 24 * 3600)):
        monkeypatch.setattr(time, "time", lambda age=age: now - age - 5)
        token = make_emailed_token(user, purpose)  # type: ignore[arg-type]
        monkeypatch.undo()
        answer = anonymous.post(f"auth/{path}", json={"token": token, "password": NEW})
        assert_error(answer, 422, "validation_error", "Validation error", errors=BAD)
    assert {"reset": timedelta(hours=1), "verify": timedelta(hours=24)} == emailed_tokens.LIFETIMES


def test_a_token_used_twice_at_once_counts_once(alice: Person, anonymous: Api) -> None:
    token = make_emailed_token(user_of(alice), "reset")
    answers = at_once(
        4, lambda n: alice.post("auth/password/reset", json={"token": token, "password": f"{NEW} {n}"}).status_code
    )
    assert sorted(answers) == [200, 422, 422, 422]


def test_who_changed_the_password_meanwhile_or_is_shut_out_cannot_reset_it(alice: Person, bob: Person) -> None:
    tokens = [make_emailed_token(user_of(person), "reset") for person in (alice, bob)]
    alice.patch("users/me", json={"password": "changed meanwhile", "current_password": alice.password})
    User.objects.filter(pk=bob.id).update(is_active=False)
    for token in tokens:
        answer = alice.post("auth/password/reset", json={"token": token, "password": NEW})
        assert_error(answer, 422, "validation_error", "Validation error", errors=BAD)
