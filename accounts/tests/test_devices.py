"""Failed logins by other clients do not lock out a device that knows the account."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from django.contrib.auth.hashers import make_password
from django.core import signing
from django.utils import timezone

from accounts.login import devices
from accounts.login.devices import issue_device_token
from accounts.login.login_lock import begin_login
from accounts.models import AuditEvent, LoginAttempts, User
from accounts.recovery.emailed_tokens import make_emailed_token
from accounts.tests.logins import LOGINS, log_in, new_email
from accounts.tests.staff import Staff, form_fields, make_user
from conftest import Api, Person, assert_error, at_once, new_address
from edgechat.tests.web_settings import WITHOUT_REDIS

LOCKED = "Too many failed logins for this e-mail address, try again later"
WRONG = "not the password"


def fail(api: Api, email: str, count: int) -> None:
    """Make `count` failed logins simultaneously, because each rejection takes its time."""
    answers = at_once(count, lambda number: log_in(api, email, WRONG, LOGINS[number % 3]))
    assert [answer.status_code for answer in answers] == [401] * count


def lock(email: str) -> None:
    """Make five failed attempts without a device."""
    for _ in range(5):
        begin_login(email).fail()


def assert_locked(answer: httpx2.Response) -> None:
    assert_error(answer, 429, "login_locked", LOCKED)
    assert 1 <= int(answer.headers["Retry-After"]) <= 15 * 60


def token_of(api: Api, person: Person, path: str = "auth/login") -> str:
    """The device token of a login. The cookie is removed, as for a client without cookies."""
    answer = log_in(api, person.email, person.password, path)
    api.cookies.clear()
    token: str = answer.json()["device_token"]
    return token


@pytest.fixture
def phone(web_url: str) -> Iterator[Api]:
    """A client that stores cookies."""
    with Api(web_url) as api:
        yield api


@pytest.mark.parametrize("path", LOGINS)
@pytest.mark.parametrize("first", LOGINS)
def test_the_cookie_of_a_login_lets_the_next_one_through(
    phone: Api, anonymous: Api, alice: Person, first: str, path: str
) -> None:
    assert log_in(phone, alice.email, alice.password, first).status_code == 200
    lock(alice.email)
    assert_locked(log_in(anonymous, alice.email, alice.password, path))
    assert log_in(phone, alice.email.upper(), alice.password, path).status_code == 200
    assert_locked(log_in(anonymous, alice.email, alice.password, path))


@pytest.mark.parametrize("path", LOGINS)
def test_the_token_of_an_answer_lets_the_next_login_through(anonymous: Api, alice: Person, path: str) -> None:
    tokens = [alice.tokens["device_token"], *(token_of(anonymous, alice, first) for first in LOGINS[:2])]
    lock(alice.email)
    for token in tokens:
        anonymous.cookies.clear()
        assert log_in(anonymous, alice.email, alice.password, path, device_token=token).status_code == 200


def test_the_cookie_is_out_of_reach_of_scripts(phone: Api, alice: Person) -> None:
    answer = log_in(phone, alice.email, alice.password)
    [header] = answer.headers.get_list("Set-Cookie")
    pair, *attributes = header.split("; ")
    assert pair == f"device={answer.json()['device_token']}"
    assert {"HttpOnly", "Max-Age=15552000", "Path=/", "SameSite=Lax"} < set(attributes)


def test_a_device_s_own_failures_lock_that_device_only(phone: Api, anonymous: Api, web_url: str, alice: Person) -> None:
    with Api(web_url) as laptop:
        for device in (phone, laptop):
            assert log_in(device, alice.email, alice.password).status_code == 200
        fail(phone, alice.email, 5)
        assert_locked(log_in(phone, alice.email, alice.password))
        assert log_in(laptop, alice.email, alice.password).status_code == 200
        assert log_in(anonymous, alice.email, alice.password).status_code == 200
        assert_locked(log_in(phone, alice.email, alice.password))


def test_of_fifty_guesses_at_once_on_one_device_five_are_looked_at(alice: Person) -> None:
    body = {"email": alice.email, "password": WRONG, "device_token": alice.tokens["device_token"]}
    alice.cookies.clear()
    answers = at_once(50, lambda _: alice.post("auth/login", json=body))
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 45
    assert AuditEvent.objects.filter(user_id=alice.id, event="login_failed").count() == 5


def test_logging_in_again_and_again_does_not_multiply_a_device_s_attempts(anonymous: Api, alice: Person) -> None:
    tokens = [alice.tokens["device_token"]]
    for _ in range(3):
        answer = log_in(anonymous, alice.email, alice.password, device_token=tokens[-1])
        anonymous.cookies.clear()
        tokens.append(answer.json()["device_token"])
    answers = at_once(5, lambda number: log_in(anonymous, alice.email, WRONG, device_token=tokens[number % 4]))
    assert [answer.status_code for answer in answers] == [401] * 5
    for answer in at_once(4, lambda n: log_in(anonymous, alice.email, alice.password, device_token=tokens[n])):
        assert_locked(answer)


def test_a_success_on_a_device_gives_nobody_else_another_try(anonymous: Api, phone: Api, alice: Person) -> None:
    assert log_in(phone, alice.email, alice.password).status_code == 200
    fail(anonymous, alice.email, 4)
    assert log_in(phone, alice.email, alice.password).status_code == 200
    assert log_in(anonymous, alice.email, WRONG).status_code == 401
    assert_locked(log_in(anonymous, alice.email, WRONG))


def forged(user: User, **changes: Any) -> str:
    claims = {"user": user.pk, "device": "device", "state": devices._state(user), **changes}
    return signing.dumps(claims, salt="accounts.devices", key="another secret")


def test_a_token_that_is_not_good_is_none(anonymous: Api, alice: Person, bob: Person) -> None:
    user = User.objects.get(pk=alice.id)
    own = alice.tokens["device_token"]
    lock(alice.email)
    bad = ("", "nonsense", own[:-1], own + "x", forged(user), bob.tokens["device_token"], "é" * 100, None)
    tokens = (*bad, alice.tokens["access_token"], make_emailed_token(user, "verify"))
    body = {"email": alice.email, "password": alice.password}
    # Simultaneously, because each rejection takes its time.
    answers = at_once(len(tokens), lambda n: log_in(anonymous, **body, device_token=tokens[n]))
    cookies = (bob.tokens["device_token"], "|" * 1000, "nonsense|nonsense", '"', "x" * 4000)
    answers += at_once(
        len(cookies),
        lambda n: anonymous.post("auth/login", json=body, headers={**new_address(), "Cookie": f"device={cookies[n]}"}),
    )
    assert dict(anonymous.cookies) == {}
    for answer in answers:
        assert_locked(answer)
    assert log_in(anonymous, alice.email, alice.password, device_token=own).status_code == 200


def test_another_account_s_token_counts_as_none(anonymous: Api, alice: Person, bob: Person) -> None:
    """A device token of another account has no separate count and uses up no count.

    This holds whether or not the address is known.
    """
    for email in (alice.email, new_email()):
        token, address = bob.tokens["device_token"], email
        for answer in at_once(5, lambda _: log_in(anonymous, address, WRONG, device_token=token)):  # noqa: B023
            assert_error(answer, 401, "invalid_credentials", "Invalid email or password")
            assert "Set-Cookie" not in answer.headers
        assert_locked(log_in(anonymous, email, WRONG, device_token=token))
    lock(bob.email)
    answer = log_in(anonymous, bob.email, bob.password, device_token=bob.tokens["device_token"])
    assert answer.status_code == 200


def test_a_device_knows_five_accounts(phone: Api, anonymous: Api, register: Callable[..., Person]) -> None:
    people = [register(f"person-{number}") for number in range(6)]
    for person in people:
        assert log_in(phone, person.email, person.password).status_code == 200
    for person in people:
        lock(person.email)
    cookie = phone.cookies["device"]
    assert len(cookie) < 2000
    assert_locked(log_in(phone, people[0].email, people[0].password))
    for person in people[1:]:
        assert log_in(phone, person.email, person.password).status_code == 200


def test_a_token_ends_after_180_days(anonymous: Api, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    user = User.objects.get(pk=alice.id)
    lock(alice.email)
    for days, status in ((179, 200), (181, 429)):
        issued = (timezone.now() - timedelta(days=days)).timestamp()
        monkeypatch.setattr("time.time", lambda issued=issued: issued)
        token = issue_device_token(user, []).text
        monkeypatch.undo()
        assert log_in(anonymous, alice.email, alice.password, device_token=token).status_code == status
        anonymous.cookies.clear()


def test_a_new_password_makes_the_old_devices_strangers_but_the_one_that_sets_it(
    anonymous: Api, phone: Api, alice: Person
) -> None:
    assert log_in(phone, alice.email, alice.password).status_code == 200
    body = {"password": "another password", "current_password": alice.password}
    answer = alice.patch("users/me", json=body)
    assert answer.status_code == 200
    token = answer.json()["device_token"]
    lock(alice.email)
    assert_locked(log_in(phone, alice.email, "another password"))
    assert log_in(alice, alice.email, "another password").status_code == 200
    assert log_in(anonymous, alice.email, "another password", device_token=token).status_code == 200
    assert "device_token" not in alice.patch("users/me", json={"full_name": "Alice"}).json()


def test_who_resets_the_password_is_let_through(anonymous: Api, alice: Person) -> None:
    token = make_emailed_token(User.objects.get(pk=alice.id), "reset")
    answer = anonymous.post("auth/password/reset", json={"token": token, "password": "another password"})
    body = answer.json()
    assert (answer.status_code, body["message"]) == (200, "The password was changed")
    lock(alice.email)
    assert log_in(anonymous, alice.email, "another password").status_code == 200
    anonymous.cookies.clear()
    assert_locked(log_in(anonymous, alice.email, "another password"))
    answer = log_in(anonymous, alice.email, "another password", device_token=body["device_token"])
    assert answer.status_code == 200


def test_failed_logins_do_not_keep_who_is_logged_in_from_changing_the_password(alice: Person) -> None:
    lock(alice.email)
    body = {"password": "another password", "current_password": alice.password}
    assert alice.patch("users/me", json=body).status_code == 200


def test_a_hash_that_is_made_anew_at_the_login_leaves_the_device_known(phone: Api, alice: Person) -> None:
    old = make_password(alice.password, hasher="bcrypt")
    User.objects.filter(pk=alice.id).update(password=old)
    assert log_in(phone, alice.email, alice.password).status_code == 200
    assert User.objects.get(pk=alice.id).password != old
    lock(alice.email)
    assert log_in(phone, alice.email, alice.password).status_code == 200


def test_a_known_device_is_let_through_without_redis(web_with: Callable[..., str], alice: Person) -> None:
    lock(alice.email)
    body = {"email": alice.email, "password": alice.password, "device_token": alice.tokens["device_token"]}
    with Api(web_with(**WITHOUT_REDIS)) as api:
        assert api.post("auth/login", json=body).status_code == 200


def test_staff_come_in_to_the_admin_with_a_device_that_they_used_before(web_url: str) -> None:
    user = make_user("root", is_staff=True, is_superuser=True)
    with closing(Staff(web_url, user, "password of root")) as browser:
        assert re.match(r"[\w-]+:", browser.cookies["device"])
        lock(user.email)
        browser.cookies.delete("edgechat_admin")
        answer = browser.submit("login/?next=/admin/", username=user.email, password="password of root")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
    with Api(web_url) as stranger:
        page = stranger.get(f"{web_url}/admin/login/", follow_redirects=True)
        fields = {**form_fields(page.text), "username": user.email, "password": "password of root"}
        assert LOCKED in stranger.post(page.url, data=fields).text


def test_who_changes_the_own_password_in_the_admin_stays_known(web_url: str) -> None:
    user = make_user("root", is_staff=True, is_superuser=True)
    with closing(Staff(web_url, user, "password of root")) as browser:
        new = {"new_password1": "another password", "new_password2": "another password"}
        assert browser.submit("password_change/", old_password="password of root", **new).status_code == 302
        lock(user.email)
        browser.cookies.delete("edgechat_admin")
        answer = browser.submit("login/?next=/admin/", username=user.email, password="another password")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")


def test_what_is_kept_tells_neither_the_device_nor_the_account(alice: Person) -> None:
    device = signing.loads(alice.tokens["device_token"], salt="accounts.devices")["device"]
    attempt = begin_login(alice.email, device=device)
    attempt.fail()
    stored = str(vars(LoginAttempts.objects.get(key=attempt.key)))
    assert device not in stored
    assert alice.email not in stored
