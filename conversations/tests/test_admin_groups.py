"""The groups of staff that every installation has, and what staff without a permission are told."""

from __future__ import annotations

import re
from contextlib import closing
from html import unescape

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from accounts.models import User
from accounts.tests.staff import Staff, helper, make_user, superuser
from conftest import Person, new_address
from usage.models import RequestRecord
from usage.tests.sums import settled

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
    "usage/earlyrefusal/": {"Support", "Finance"},
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


def _member(name: str) -> User:
    user = make_user("member", is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    return user


@pytest.mark.parametrize("name", ["Support", "Finance", "Auditor", "Transcript reader"])
def test_a_group_gets_the_files_and_the_figures_of_its_pages_and_no_others(
    web_url: str, alice: Person, name: str
) -> None:
    call = settled(timezone.now(), cost=5, user_id=alice.id)
    refused = RequestRecord.objects.create(
        user_id=alice.id, at=timezone.now(), method="GET", route="r", status=429, milliseconds=1, reason="rate_limited"
    )
    finance, chat = {"Finance"}, {"Support", "Transcript reader"}
    paths = {f"{page}export.csv": groups for page, groups in PAGES.items() if not page.endswith("add/")}
    paths |= {f"usage/ledgerentry/charts/{slug}.csv": finance for slug in ("requests", "cost", "errors", "latency")}
    paths |= {f"usage/ledgerentry/{page}": finance for page in ("users/", "users.csv", f"users/{alice.id}/")}
    paths |= {f"conversations/conversation/{page}": chat for page in ("quality/", "quality.csv")}
    paths |= {
        "usage/requestrecord/find/": {"Support", "Finance", "Auditor"},
        f"accounts/user/{alice.id}/change/": {"Support", "Finance"},
        f"usage/ledgerentry/{call.pk}/change/": finance,
        f"usage/requestrecord/{refused.pk}/change/": {"Support", "Finance"},
    }
    with closing(Staff(web_url, _member(name), "password of member")) as staff:
        statuses = {path: staff.get(path).status_code for path in paths}
    assert {path for path, status in statuses.items() if status == 200} == {
        path for path, groups in paths.items() if name in groups
    }
    assert set(statuses.values()) <= {200, 403}


@pytest.mark.parametrize("name", ["Support", "Finance", "Auditor", "Transcript reader"])
def test_no_link_of_a_page_leads_a_group_to_a_refusal(web_url: str, alice: Person, name: str) -> None:
    settled(timezone.now(), cost=5, user_id=alice.id)
    conversation = alice.new_conversation()
    starts = ["", *PAGES, f"accounts/user/{alice.id}/change/", f"usage/ledgerentry/users/{alice.id}/"]
    starts += ["usage/requestrecord/find/?q=" + alice.email, f"conversations/conversation/?q={conversation}"]
    alice.say(conversation, "[[status=500]]")
    starts.append(f"conversations/conversation/quality/?kind=failed&user={alice.id}")
    followed: dict[str, int] = {}
    with closing(Staff(web_url, _member(name), "password of member")) as staff:
        for start in starts:
            page = staff.get(start)
            if page.status_code != 200:
                continue
            for link in re.findall(r'href="(/admin/[^"#]*)"', page.text):
                # One link of each kind: ids differ, and so do the values of filters.
                kind = re.sub(
                    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{24}|\d+", "N", link.partition("?")[0]
                )
                # What belongs to another test may be gone by now: then another link of its kind is followed.
                if followed.get(kind, 404) == 404:
                    staff.headers.update(new_address())  # one address has a limit of requests
                    followed[kind] = staff.get(f"{web_url}{unescape(link)}").status_code
    assert len(followed) > 5
    assert {kind: status for kind, status in followed.items() if status not in (200, 302)} == {}


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        (
            "Support",
            "Conversations, Requests, Failed requests, Early refusals, Organizations, Sessions, API keys, "
            "Quality of replies",
        ),
        ("Finance", "Costs, Requests, Failed requests, Early refusals, Ledger, Hourly usage, Organizations"),
    ],
)
def test_a_user_s_page_offers_a_group_its_rows(web_url: str, alice: Person, name: str, titles: str) -> None:
    with closing(Staff(web_url, _member(name), "password of member")) as staff:
        page = staff.get(f"accounts/user/{alice.id}/change/").text
    offered = page.partition('aria-label="Rows"')[2].partition("</nav>")[0]
    assert ", ".join(re.findall(r">([^<>]+)</a>", offered)) == titles


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


@pytest.mark.parametrize("page", ["", "export.csv"])
def test_a_filter_that_a_list_does_not_have_is_a_page(web_url: str, page: str) -> None:
    with superuser(web_url) as root:
        answer = root.get(f"usage/requestrecord/{page}?nonsense=1")
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "text/html; charset=utf-8")
    assert "The list has no filter of this name." in answer.text
