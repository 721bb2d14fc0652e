"""Changes between the password check and the start of the session."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import services
from accounts.login.sessions import AccountChanged, start_session
from accounts.models import Session, User
from accounts.tests.logins import LOGINS, log_in, logged_in, status_with
from accounts.tests.staff import make_user
from conftest import Api, Person, at_once
from edgechat.http.client_address import Caller

CALLER = Caller("10.0.0.1", "", "")


def test_of_logins_beside_a_deletion_none_is_a_fault(anonymous: Api, alice: Person) -> None:
    def call(number: int) -> int:
        if number == 4:
            return alice.delete("users/me").status_code
        return log_in(anonymous, alice.email, alice.password, LOGINS[number % 3]).status_code

    statuses = at_once(9, call)
    assert statuses[4] == 204
    assert set(statuses) <= {200, 204, 401, 429}
    assert not User.objects.filter(pk=alice.id).exists()


def test_no_session_begins_for_who_is_gone_shut_out_or_has_another_password() -> None:
    gone, shut_out, changed = (make_user() for _ in range(3))
    User.objects.filter(pk=gone.pk).delete()
    User.objects.filter(pk=shut_out.pk).update(is_active=False)
    User.objects.filter(pk=changed.pk).update(password="another hash")
    for user in (gone, shut_out, changed):
        with pytest.raises(AccountChanged):
            start_session(user=user, caller=CALLER)
        assert not Session.objects.filter(user_id=user.pk).exists()


def test_a_hash_that_another_login_made_anew_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    user = make_user()
    authenticate = services.authenticate_user

    def slow(**arguments: object) -> User:
        found = authenticate(**arguments)  # type: ignore[arg-type]
        if not Session.objects.filter(user=user).exists() and found.password == user.password:
            again = User.objects.get(pk=user.pk)
            again.set_password("password of user")
            again.save()
        return found

    monkeypatch.setattr(services, "authenticate_user", slow)
    services.log_in_user(email=user.email, password="password of user", caller=CALLER)
    assert Session.objects.filter(user=user).count() == 1


def test_changes_of_who_is_gone_are_401() -> None:
    user = make_user()
    start_session(user=user, caller=CALLER)
    session = Session.objects.get(user=user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    with pytest.raises(AccountChanged):
        services.rename_user(user=user, full_name="Ann")
    with pytest.raises(AccountChanged):
        services.change_password(
            user=user, session=session, password="a new password", current_password=None, caller=CALLER
        )
    assert (AccountChanged.status, AccountChanged.code) == (401, "token_revoked")


def test_a_password_is_not_changed_by_a_session_that_ended_meanwhile() -> None:
    user = make_user()
    start_session(user=user, caller=CALLER)
    session = Session.objects.get(user=user)
    Session.objects.filter(pk=session.pk).update(ended_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(AccountChanged):
        services.change_password(
            user=user, session=session, password="a new password", current_password=None, caller=CALLER
        )
    assert User.objects.get(pk=user.pk).password == user.password


def test_passwords_changed_beside_a_deletion_are_no_faults(anonymous: Api, alice: Person) -> None:
    clients = [anonymous.signed_in(logged_in(anonymous, alice.email, alice.password)["access_token"]) for _ in range(4)]

    def call(number: int) -> int:
        if number == 4:
            return alice.delete("users/me").status_code
        body = {"password": f"a new password {number}", "full_name": "Alice"}
        return clients[number].patch("users/me", json=body).status_code

    statuses = at_once(5, call)
    assert set(statuses) <= {200, 204, 401}
    for client in clients:
        client.close()
    assert status_with(anonymous, alice.tokens)[0] == 401
