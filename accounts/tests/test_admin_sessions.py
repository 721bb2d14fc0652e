"""Admin sessions: listed, ended like other sessions, and asked for the password again."""

from __future__ import annotations

import html
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from accounts.login.tokens import make_token
from accounts.models import AuditEvent, Membership, Organization, Session, User
from accounts.tests.staff import Staff, helper, make_user, superuser
from conftest import Api, Person, assert_error
from conversations.models import Todo

ASKED = "/admin/confirm-password/"


class Both:
    """One staff user in a browser and at the API."""

    def __init__(self, origin: str, person: Person) -> None:
        User.objects.filter(pk=person.id).update(is_staff=True)
        self.api = person
        self.user = User.objects.get(pk=person.id)
        self.browser = Staff(origin, self.user, person.password)

    def session(self) -> Session:
        return Session.objects.get(user=self.user, kind="admin")

    def is_in(self) -> bool:
        answer = self.browser.get("")
        assert answer.status_code in (200, 302)
        return answer.status_code == 200


@pytest.fixture
def both(web_url: str, alice: Person) -> Iterator[Both]:
    made = Both(web_url, alice)
    with closing(made.browser):
        yield made


def _age(session: Session, **times: Any) -> None:
    Session.objects.filter(pk=session.pk).update(**times)


def test_a_login_to_the_admin_is_listed_and_is_no_current_one(both: Both) -> None:
    listed = both.api.get("auth/sessions").json()["sessions"]
    (admin,) = [each for each in listed if each["device_name"] == "Admin site"]
    assert (admin["id"], admin["current"]) == (str(both.session().pk), False)
    assert admin["ip"] == both.browser.headers["X-Forwarded-For"]
    assert both.session().expires_at - both.session().created_at <= timedelta(hours=12, minutes=1)


def _end_one(both: Both) -> None:
    assert both.api.delete(f"auth/sessions/{both.session().pk}").status_code == 204


def _log_out_everywhere(both: Both) -> None:
    assert both.api.post("auth/logout-all").json()["sessions_ended"] == 2


def _change_password(both: Both) -> None:
    body = {"password": "another password", "current_password": both.api.password}
    assert both.api.patch("users/me", json=body).status_code == 200


def _log_out_at_the_browser(both: Both) -> None:
    assert both.browser.post_form("logout/", {}).status_code in (200, 302)


def _revoke(both: Both) -> None:
    call_command("revoke_sessions", both.user.email, stdout=StringIO())


def _set_role(both: Both) -> None:
    call_command("set_role", both.user.email, "user", stdout=StringIO())


def _by_superuser(path: str, **fields: Any) -> Callable[[Both], None]:
    def act(both: Both) -> None:
        with superuser(both.browser.origin) as root:
            assert root.submit(f"accounts/user/{both.user.pk}/{path}/", **fields).status_code == 302

    return act


def _patch(**body: Any) -> Callable[[Both], None]:
    def act(both: Both) -> None:
        root = make_user("root", is_staff=True, is_superuser=True)
        with Api(both.browser.origin) as api:
            login = api.post("auth/login", json={"email": root.email, "password": "password of root"}).json()
            with api.signed_in(login["access_token"]) as signed_in:
                assert signed_in.patch(f"users/{both.user.pk}", json=body).status_code == 200

    return act


ENDS: dict[str, Callable[[Both], None]] = {
    "one by its id": _end_one,
    "log out everywhere": _log_out_everywhere,
    "a new password": _change_password,
    "logging out there": _log_out_at_the_browser,
    "revoke_sessions": _revoke,
    "set_role": _set_role,
    "role by the API": _patch(role="user"),
    "deactivation by the API": _patch(is_active=False),
    "role in the admin": _by_superuser("change", is_staff=None),
    "deactivation in the admin": _by_superuser("deactivate"),
    "a change of address": _by_superuser("change", email=f"x-{uuid.uuid4().hex}@example.com"),
    "a password by staff": _by_superuser("password", password1="set by staff", password2="set by staff"),
    "end sessions": _by_superuser("end-sessions"),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_sessions_ends_it_for_good(both: Both, end: str) -> None:
    cookies = dict(both.browser.cookies)
    assert both.is_in()
    ENDS[end](both)
    assert both.session().ended_at is not None
    both.browser.cookies.update(cookies)
    assert not both.is_in()
    User.objects.filter(pk=both.user.pk).update(is_staff=True, is_active=True)
    both.browser.cookies.clear()
    both.browser.cookies.update(cookies)
    assert not both.is_in()


def test_a_role_that_is_taken_away_behind_our_back_ends_it_at_the_next_request(both: Both) -> None:
    cookies = dict(both.browser.cookies)
    User.objects.filter(pk=both.user.pk).update(is_staff=False)
    assert not both.is_in()
    assert both.session().end_reason == "role_changed"
    User.objects.filter(pk=both.user.pk).update(is_staff=True)
    both.browser.cookies.update(cookies)
    assert not both.is_in()


def test_a_superuser_who_becomes_staff_logs_in_again(web_url: str) -> None:
    with superuser(web_url) as root:
        call_command("set_role", root.user.email, "admin", stdout=StringIO())
        assert root.get("").status_code == 302


@pytest.mark.parametrize("column", ["created_at", "expires_at"])
def test_it_is_over_after_twelve_hours_however_much_it_is_used(both: Both, column: str) -> None:
    hours = 12 if column == "created_at" else 0
    _age(both.session(), last_used_at=timezone.now(), **{column: timezone.now() - timedelta(hours=hours, seconds=1)})
    assert not both.is_in()


def test_a_cookie_of_before_there_were_such_sessions_is_worth_nothing(both: Both) -> None:
    both.session().delete()
    assert not both.is_in()


def test_changing_the_own_password_in_the_admin_ends_the_other_logins_there(both: Both, web_url: str) -> None:
    with closing(Staff(web_url, both.user, both.api.password)) as other:
        new = {"new_password1": "another password", "new_password2": "another password"}
        assert both.browser.submit("password_change/", old_password=both.api.password, **new).status_code == 302
        assert both.is_in()
        assert other.get("").status_code == 302


def test_logging_in_again_ends_the_login_of_before(both: Both) -> None:
    both.browser.get("")
    both.browser.post_form("login/?next=/admin/", {"username": both.user.email, "password": both.api.password})
    assert Session.objects.live().filter(user=both.user, kind="admin").count() == 1
    assert both.is_in()


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_it_is_no_session_for_tokens(both: Both, web_url: str, kind: Any) -> None:
    """Even for a client that has stolen the signing key."""
    token = make_token(
        kind, user_id=both.user.pk, role="admin", session_id=both.session().pk, generation=0, issued_at=timezone.now()
    )
    with Api(web_url, token=token) as api:
        if kind == "access":
            assert_error(api.get("auth/me"), 401, "token_revoked", "The session has ended")
        else:
            answer = api.post("auth/refresh", json={"refresh_token": token})
            assert (answer.status_code, answer.json()["code"]) == (401, "refresh_invalid")
    with Api(web_url) as api:
        api.cookies.update(dict(both.browser.cookies))
        assert api.get("auth/me").status_code == 401
    assert both.is_in()


def test_logins_and_failures_are_audited_as_the_admins(web_url: str, alice: Person) -> None:
    staff = make_user("helper", is_staff=True)
    refused = {"site": "admin", "reason": "not_staff"}
    for user, password, event, details in (
        (staff, "not the password", "login_failed", {"site": "admin"}),
        (User.objects.get(pk=alice.id), alice.password, "login_refused", refused),
    ):
        with Api(web_url) as browser:
            browser.base_url = f"{web_url}/admin/"
            page = browser.get("login/?next=/admin/")
            assert page.status_code == 200
            fields = {"username": user.email, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            assert browser.post("login/?next=/admin/", data=fields).status_code == 200
        rejected = AuditEvent.objects.get(user_id=user.pk, event__in=("login_failed", "login_refused"))
        assert (rejected.event, rejected.details) == (event, details)
    with closing(Staff(web_url, staff, "password of helper")):
        login = AuditEvent.objects.get(user_id=staff.pk, event="login")
    assert (login.actor_id, login.details) == (staff.pk, {"site": "admin"})
    assert not AuditEvent.objects.filter(user_id=alice.id, event="login").exists()


def _stale(staff: Staff) -> None:
    at = timezone.now() - timedelta(minutes=15, seconds=1)
    Session.objects.filter(user=staff.user, kind="admin").update(created_at=at, reauthenticated_at=None)


def _is_asked(answer: Any) -> bool:
    return answer.status_code == 302 and str(answer.headers["Location"]).startswith(ASKED)


def test_deleting_exporting_and_reading_ask_for_the_password_again(web_url: str, alice: Person) -> None:
    conversation = alice.new_conversation(title="a secret title")
    todo = Todo.objects.create(owner_id=alice.id, title="a secret task", conversation_id="0" * 24)
    organization = Organization.objects.create(name="kept")
    member = Membership.objects.create(organization=organization, user_id=alice.id)
    user = f"accounts/user/{alice.id}"
    pages = [
        f"{user}/delete/",
        f"{user}/export/",
        f"{user}/password/",
        f"conversations/conversation/{conversation}/transcript/",
        f"conversations/todo/{todo.pk}/change/",
        f"conversations/todo/{todo.pk}/delete/",
        f"accounts/organization/{organization.pk}/delete/",
    ]
    forms: list[tuple[str, dict[str, Any]]] = [
        (f"{user}/delete/", {"post": "yes"}),
        (f"{user}/export/", {"confirmed": "yes"}),
        (f"{user}/password/", {"password1": "set by staff", "password2": "set by staff"}),
        ("accounts/user/", {"action": "delete_selected", "_selected_action": [str(alice.id)], "post": "yes"}),
        ("conversations/todo/", {"action": ["", "delete_selected"], "_selected_action": [todo.pk], "post": "yes"}),
    ]
    with superuser(web_url) as root:
        change = f"accounts/organization/{organization.pk}/change/"
        _stale(root)
        for path in pages:
            answer = root.get(path)
            assert _is_asked(answer), path
            assert answer.headers["Location"] == f"{ASKED}?next=/admin/{path}"
        for path, fields in forms:
            assert _is_asked(root.post_form(path, fields)), path
        assert _is_asked(root.submit(change, **{"memberships-0-DELETE": "on"}))
        assert "a secret task" not in root.get("conversations/todo/", params={"q": alice.email}).text
        for path in ("", "accounts/user/", f"{user}/change/", change, f"conversations/conversation/{conversation}/"):
            assert root.get(path).status_code == 200
        assert not AuditEvent.objects.filter(actor_id=root.user.pk).exclude(event="login").exists()
        assert User.objects.filter(pk=alice.id, deletion_requested_at=None).exists()
        assert Membership.objects.filter(pk=member.pk).exists()

        answer = root.submit(f"confirm-password/?next=/admin/{pages[3]}", password="password of root")
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/{pages[3]}")
        row = AuditEvent.objects.get(actor_id=root.user.pk, event="reauthenticated")
        assert row.details == {"session": str(Session.objects.get(user=root.user).pk)}
        assert "a secret title" in root.get(pages[3]).text
        assert "a secret task" in root.get("conversations/todo/", params={"q": alice.email}).text
        assert (
            root.submit(change, **{"memberships-0-DELETE": "on"}).headers["Location"] == "/admin/accounts/organization/"
        )
        assert root.submit(pages[0]).status_code == 302
    assert not User.objects.filter(pk=alice.id).exists()


def test_a_wrong_password_is_told_audited_and_counted(web_url: str) -> None:
    with superuser(web_url) as root:
        _stale(root)
        page = f"accounts/user/{root.user.pk}/password/"
        for _ in range(5):
            answer = root.submit("confirm-password/?next=/admin/", password="not the password")
            assert (answer.status_code, "This is not your password." in answer.text) == (200, True)
        answer = root.submit("confirm-password/?next=/admin/", password="password of root")
        assert answer.status_code == 200
        assert "Too many failed logins" in html.unescape(answer.text)
        assert _is_asked(root.get(page))
        failed = AuditEvent.objects.filter(user_id=root.user.pk, event="login_failed")
        assert [event.details for event in failed] == [{"by": "reauthentication"}] * 5
        assert root.get("").status_code == 200  # pages that need no recent password still work


def test_asking_for_the_password_has_a_csrf_token_and_leads_nowhere_else(web_url: str) -> None:
    with superuser(web_url) as root:
        _stale(root)
        answer = root.post("confirm-password/", data={"password": "password of root"})
        assert answer.status_code == 403
        for target in (
            "https://evil.example/",
            "//evil.example/",
            "/admin/../x",
            "/admin/\\evil",
            "javascript:x",
            "/docs",
        ):
            page = root.get("confirm-password/", params={"next": target}).text
            answer = root.submit("confirm-password/", password="password of root", next=target)
            assert answer.headers["Location"].startswith("/admin/")
            assert "evil.example" not in page
    with Api(web_url) as stranger:
        answer = stranger.get(f"{web_url}{ASKED}")
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/login/?next={ASKED}")


def test_who_may_not_delete_is_told_so_after_the_password_too(web_url: str, alice: Person) -> None:
    with helper(web_url, "view_user", "view_conversation") as staff:
        assert staff.get(f"accounts/user/{alice.id}/delete/").status_code == 403
        assert staff.get(f"accounts/user/{alice.id}/export/").status_code == 403
        _stale(staff)
        assert staff.get(f"accounts/user/{alice.id}/export/").status_code == 403
