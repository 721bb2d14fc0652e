"""/admin/login/, /admin/password_change/ and the parts that every page of the admin has."""

import html
import re
from collections.abc import Callable
from contextlib import closing

import httpx2
import pytest

from accounts.models import AuditEvent, User
from accounts.tests.staff import Staff, form_fields, helper, make_user, superuser
from conftest import Api, Person
from edgechat.tests.web_settings import SMALL


def _log_in(origin: str, email: str, password: str) -> httpx2.Response:
    with Api(origin) as browser:
        page = browser.get(f"{origin}/admin/login/", follow_redirects=True)
        fields = {**form_fields(page.text), "username": email, "password": password}
        return browser.post(page.url, data=fields)


def test_staff_log_in_with_their_email_in_any_letter_case(web_url: str) -> None:
    user = make_user("root", is_staff=True, is_superuser=True)
    answer = _log_in(web_url, user.email.upper(), "password of root")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
    events = AuditEvent.objects.filter(user_id=user.pk).values_list("event", "actor_id")
    assert list(events) == [("login", user.pk)]


def test_a_wrong_password_is_told_and_audited(web_url: str) -> None:
    user = make_user("root", is_staff=True, is_superuser=True)
    answer = _log_in(web_url, user.email, "not the password")
    assert answer.status_code == 200
    assert "Please enter the correct email and password" in html.unescape(answer.text)
    assert list(AuditEvent.objects.filter(user_id=user.pk).values_list("event", flat=True)) == ["login_failed"]


def test_a_user_who_is_not_staff_is_told_the_same_as_for_a_wrong_password(web_url: str, alice: Person) -> None:
    for password in (alice.password, "not the password"):
        answer = _log_in(web_url, alice.email, password)
        assert answer.status_code == 200
        assert "Please enter the correct email and password" in html.unescape(answer.text)
    refused, failed = AuditEvent.objects.filter(user_id=alice.id, details__site="admin").order_by("id")
    assert (refused.event, refused.details) == ("login_refused", {"site": "admin", "reason": "not_staff"})
    assert (failed.event, failed.details) == ("login_failed", {"site": "admin"})


def test_a_login_that_has_to_wait_is_audited_as_refused(web_url: str) -> None:
    user = make_user("root", is_staff=True, is_superuser=True)
    for _ in range(5):
        _log_in(web_url, user.email, "not the password")
    answer = _log_in(web_url, user.email, "password of root")
    assert answer.status_code == 200
    last = AuditEvent.objects.filter(user_id=user.pk).latest("id")
    assert (last.event, last.details) == ("login_refused", {"site": "admin", "reason": "locked"})


def test_the_login_of_a_deactivated_member_of_staff_is_audited_as_refused(web_url: str) -> None:
    user = make_user("root", is_staff=True, is_active=False)
    assert _log_in(web_url, user.email, "password of root").status_code == 200
    last = AuditEvent.objects.get(user_id=user.pk)
    assert (last.event, last.details) == ("login_refused", {"site": "admin", "reason": "not_active"})


def test_logins_are_limited_by_address(web_with: Callable[..., str]) -> None:
    url = web_with(**SMALL)
    with Api(url) as browser:
        page = browser.get(f"{url}/admin/login/", follow_redirects=True)
        fields = form_fields(page.text) | {"username": "x@example.com", "password": ""}
        answers = [browser.post(page.url, data=fields) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429]  # 3 are allowed in an hour
    body = answers[-1].json()
    assert body == {
        "detail": "Too many requests",
        "code": "rate_limited",
        "request_id": answers[-1].headers["X-Request-ID"],
    }
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 3600


def test_a_form_without_the_csrf_token_is_403(web_url: str) -> None:
    with superuser(web_url) as root:
        answer = root.post("accounts/organization/add/", data={"name": "without a token"})
        assert answer.status_code == 403


@pytest.mark.parametrize("path", ["accounts/user/", "usage/ledgerentry/", "accounts/auditevent/"])
def test_pages_lead_to_the_login_without_one(anonymous: Api, path: str) -> None:
    answer = anonymous.get(f"{anonymous.origin}/admin/{path}")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/login/?next=/admin/{path}")


@pytest.mark.parametrize("path", ["login/", "", "accounts/user/", "accounts/user/add/", "usage/budget/add/"])
def test_every_asset_of_a_page_is_served_from_here(web_url: str, path: str) -> None:
    with superuser(web_url) as root:
        if path == "login/":
            root.cookies.clear()
        text = root.get(path, follow_redirects=True).text
        assets = set(re.findall(r"""<(?:script|link|img)\b[^>]*?\b(?:src|href)=["']([^"']*)["']""", text))
        assert assets
        assert [asset for asset in assets if not asset.startswith(("/static/", "/admin/"))] == []
        assert {root.get(f"{web_url}{asset}").status_code for asset in assets} == {200}


def test_the_sidebar_shows_what_one_may_see(web_url: str) -> None:
    links = re.compile(r'href="(/admin/\w+/\w+/)"')
    with superuser(web_url) as root, helper(web_url, "view_user", "view_ledgerentry") as staff:
        assert set(links.findall(staff.get("").text)) == {"/admin/accounts/user/", "/admin/usage/ledgerentry/"}
        assert set(links.findall(root.get("").text)) == {
            "/admin/accounts/user/",
            "/admin/accounts/session/",
            "/admin/accounts/apikey/",
            "/admin/accounts/organization/",
            "/admin/accounts/auditevent/",
            "/admin/auth/group/",
            "/admin/conversations/conversation/",
            "/admin/conversations/todo/",
            "/admin/usage/hourlyusage/",
            "/admin/usage/requestrecord/",
            "/admin/usage/earlyrefusal/",
            "/admin/usage/ledgerentry/",
            "/admin/usage/organizationusage/",
            "/admin/usage/dailytraffic/",
            "/admin/usage/budget/",
            "/admin/usage/spending/",
            "/admin/usage/modelprice/",
        }


def test_changing_the_own_password_ends_the_sessions_of_the_api(web_url: str, alice: Person) -> None:
    User.objects.filter(pk=alice.id).update(is_staff=True)
    with closing(Staff(web_url, User.objects.get(pk=alice.id), alice.password)) as staff:
        answer = staff.submit(
            "password_change/",
            old_password=alice.password,
            new_password1="another password",
            new_password2="another password",
        )
        assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/password_change/done/")
        assert staff.get("").status_code == 200  # still logged in here
    assert alice.get("auth/me").json()["code"] == "token_revoked"
    changed = AuditEvent.objects.get(user_id=alice.id, event="password_changed")
    assert changed.actor_id == alice.id


def test_an_own_password_that_is_too_short_is_refused(web_url: str) -> None:
    with superuser(web_url) as root:
        answer = root.submit(
            "password_change/", old_password="password of root", new_password1="short", new_password2="short"
        )
        assert answer.status_code == 200
        assert "at least 8 characters" in answer.text
    assert not AuditEvent.objects.filter(user_id=root.user.pk, event="password_changed").exists()
