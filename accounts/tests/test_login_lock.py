"""The login lock: five failed logins for one e-mail address within 15 minutes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db.models import F
from django.utils import timezone

from accounts.login.login_lock import LoginAttempt, begin_login, prune_login_attempts
from accounts.models import AuditEvent, LoginAttempts
from accounts.tests.logins import LOGINS, log_in, new_email, status_with
from accounts.tests.staff import Staff, make_user
from conftest import Api, Person, assert_error, at_once
from edgechat.tests.web_settings import WITHOUT_REDIS

DETAIL = "Too many failed logins for this e-mail address, try again later"


def fail(api: Api, email: str, count: int) -> None:
    """Make `count` failed logins simultaneously, because each rejection takes its time."""
    answers = at_once(count, lambda number: log_in(api, email, "not the password", LOGINS[number % 3]))
    assert [answer.status_code for answer in answers] == [401] * count


def assert_locked(answer: Any) -> None:
    assert_error(answer, 429, "login_locked", DETAIL)
    assert 1 <= int(answer.headers["Retry-After"]) <= 15 * 60


def attempts_of(email: str) -> LoginAttempts:
    """The row of an address after another failure. The row does not contain the address, so the failure finds it."""
    attempt = begin_login(email)
    attempt.fail()
    return LoginAttempts.objects.get(key=attempt.key)


@pytest.mark.parametrize("path", LOGINS)
def test_after_five_failures_the_right_password_is_refused_too(anonymous: Api, alice: Person, path: str) -> None:
    fail(anonymous, alice.email, 5)
    assert_locked(log_in(anonymous, alice.email, alice.password, path))
    assert_locked(log_in(anonymous, alice.email, "not the password", path))
    assert status_with(anonymous, alice.tokens) == (200, None)
    refresh = anonymous.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]})
    assert refresh.status_code == 200
    assert AuditEvent.objects.filter(user_id=alice.id, event="login_failed").count() == 5


def test_who_is_locked_waits_as_long_as_who_failed(anonymous: Api) -> None:
    email = new_email()
    for _ in range(5):
        attempts_of(email)
    answer = log_in(anonymous, email, "not the password")
    assert_locked(answer)
    assert answer.elapsed.total_seconds() >= settings.FAILED_LOGIN_SECONDS > 0


def test_an_unknown_e_mail_is_locked_alike(anonymous: Api) -> None:
    email = new_email()
    fail(anonymous, email, 5)
    assert_locked(log_in(anonymous, email, "not the password"))


@pytest.mark.parametrize("spelling", [str.upper, lambda email: f"  {email}\n", lambda email: email.replace("i", "I")])
def test_the_spellings_of_one_e_mail_count_together(
    anonymous: Api, alice: Person, spelling: Callable[[str], str]
) -> None:
    fail(anonymous, spelling(alice.email), 3)
    fail(anonymous, alice.email, 2)
    assert_locked(log_in(anonymous, spelling(alice.email), alice.password))


def test_another_e_mail_is_not_concerned(anonymous: Api, alice: Person, bob: Person) -> None:
    fail(anonymous, alice.email, 5)
    assert log_in(anonymous, bob.email, bob.password).status_code == 200


def test_a_success_before_the_limit_clears_the_count(anonymous: Api, alice: Person) -> None:
    for _ in range(2):
        fail(anonymous, alice.email, 4)
        assert log_in(anonymous, alice.email, alice.password).status_code == 200
    fail(anonymous, alice.email, 5)


def test_failures_count_for_15_minutes_each(anonymous: Api) -> None:
    email = new_email()
    attempts = attempts_of(email)
    fail(anonymous, email, 4)
    attempts.refresh_from_db()
    first, *later = attempts.failed_at
    first -= timedelta(minutes=10)
    LoginAttempts.objects.filter(pk=attempts.pk).update(failed_at=[first, *later])
    answer = log_in(anonymous, email, "not the password")
    assert_locked(answer)
    assert int(answer.headers["Retry-After"]) <= 5 * 60
    LoginAttempts.objects.filter(pk=attempts.pk).update(failed_at=[first - timedelta(minutes=5, seconds=1), *later])
    fail(anonymous, email, 1)
    assert_locked(log_in(anonymous, email, "not the password"))


def test_of_twenty_wrong_passwords_at_once_five_are_looked_at(alice: Person) -> None:
    answers = at_once(20, lambda _: alice.post("auth/login", json={"email": alice.email, "password": "wrong"}))
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 15
    assert AuditEvent.objects.filter(user_id=alice.id, event="login_failed").count() == 5


def test_twenty_right_passwords_at_once_all_log_in(alice: Person) -> None:
    body = {"email": alice.email, "password": alice.password}
    answers = at_once(20, lambda _: alice.post("auth/login", json=body))
    assert [answer.status_code for answer in answers] == [200] * 20


def test_attempts_of_a_process_that_died_count_as_failed(anonymous: Api, alice: Person) -> None:
    died = [begin_login(alice.email) for _ in range(5)]
    row = LoginAttempts.objects.get(key=died[0].key)
    row.running_since = [began - timedelta(seconds=21) for began in row.running_since]
    row.save()
    assert_locked(log_in(anonymous, alice.email, alice.password))


def test_the_limit_holds_without_redis(alice: Person, web_with: Callable[..., str]) -> None:
    with Api(web_with(**WITHOUT_REDIS)) as api:
        fail(api, alice.email, 5)
        assert_locked(log_in(api, alice.email, alice.password))


def test_the_admin_s_login_waits_too(web_url: str) -> None:
    user = make_user("root", is_staff=True, is_superuser=True)
    with Api(web_url) as api:
        fail(api, user.email, 5)
    with pytest.raises(AssertionError, match=DETAIL):
        Staff(web_url, user, "password of root")


def test_what_is_kept_does_not_tell_the_e_mail() -> None:
    email = new_email()
    row = attempts_of(email)
    assert email not in str(vars(row))
    assert row.key != hashlib.sha256(email.encode()).hexdigest()


def test_old_attempts_are_forgotten_and_the_others_kept() -> None:
    old, young = attempts_of(new_email()), attempts_of(new_email())
    LoginAttempts.objects.filter(pk=old.pk).update(last_at=F("last_at") - timedelta(minutes=31))
    prune_login_attempts()  # a web process may have been faster
    assert set(LoginAttempts.objects.filter(pk__in=[old.pk, young.pk])) == {young}
    LoginAttempt(old.pk, timezone.now()).fail()  # a login that took as long
