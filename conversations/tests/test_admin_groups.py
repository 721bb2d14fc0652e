"""The groups of staff that every installation has, and what staff without a permission are told."""

from __future__ import annotations

from contextlib import closing
from html import unescape

import pytest
from django.contrib.auth.models import Group

from accounts.tests.staff import Staff, helper, make_user, superuser
from conftest import Person

PAGES = {
    "accounts/user/": {"Support", "Finance"},
    "accounts/session/": {"Support"},
    "accounts/apikey/": {"Support"},
    "accounts/organization/": {"Support", "Finance"},
    "accounts/auditevent/": {"Auditor"},
    "auth/group/": set(),
    "conversations/conversation/": {"Support", "Transcript reader"},
    "conversations/todo/": set(),
    "usage/requestrecord/": {"Support", "Finance"},
    "usage/ledgerentry/": {"Finance"},
    "usage/budget/": {"Support", "Finance"},
    "usage/budget/add/": {"Finance"},
    "usage/modelprice/": {"Finance"},
    "usage/modelprice/add/": {"Finance"},
    "usage/spending/": {"Finance"},
    "usage/dailytraffic/": {"Finance"},
    "usage/hourlyusage/": {"Finance"},
    "usage/organizationusage/": {"Finance"},
}


@pytest.mark.parametrize("name", ["Support", "Finance", "Auditor", "Transcript reader"])
def test_a_group_opens_its_pages_and_no_others(web_url: str, alice: Person, name: str) -> None:
    user = make_user("member", is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    conversation = alice.new_conversation(title="Not for support")
    alice.say(conversation, "a text")
    with closing(Staff(web_url, user, "password of member")) as staff:
        opened = {page for page in PAGES if staff.get(page).status_code == 200}
        assert opened == {page for page, groups in PAGES.items() if name in groups}
        assert staff.get("").status_code == 200
        transcript = staff.get(f"conversations/conversation/{conversation}/transcript/")
        # Whoever may read asks for the password first, or reads at once after a login.
        assert (transcript.status_code == 200) == (name == "Transcript reader")


def test_support_ends_sessions_and_deactivates_users(web_url: str, alice: Person) -> None:
    user = make_user("member", is_staff=True)
    user.groups.add(Group.objects.get(name="Support"))
    with closing(Staff(web_url, user, "password of member")) as staff:
        page = staff.get(f"accounts/user/{alice.id}/change/").text
        for action in ("end-sessions", "deactivate"):
            assert f"/admin/accounts/user/{alice.id}/{action}/" in page
        assert f"/admin/accounts/user/{alice.id}/export/" not in page


def test_staff_without_a_permission_are_told_whom_to_ask(web_url: str) -> None:
    with superuser(web_url) as root, helper(web_url) as staff:
        for path in ("", "accounts/user/"):
            page = staff.get(path)
            assert page.status_code == (200 if path == "" else 403)
            assert page.headers["Content-Type"].startswith("text/html")
            assert "Ask a superuser for the permission: " in unescape(page.text)
        assert root.get("accounts/user/").status_code == 200


@pytest.mark.parametrize("path", ["nothing/", "accounts/nothing/", "nothing"])
def test_an_unknown_page_of_the_admin_is_a_page(web_url: str, path: str) -> None:
    with superuser(web_url) as root:
        page = root.get(path)
        assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert "There is no such page, or what it showed is gone." in page.text
        assert 'href="/admin/"' in page.text
