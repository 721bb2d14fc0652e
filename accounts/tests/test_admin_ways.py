"""The sidebar, the way above a page, and titles, on every page that the sidebar leads to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import pytest

from accounts.tests.staff import Staff, make_user, superuser


@pytest.fixture
def root(web_url: str) -> Iterator[Staff]:
    with superuser(web_url) as staff:
        yield staff


def _words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def _way(page: str) -> str:
    heading = page.partition('<h1 class="overflow-hidden')[2].partition(">")[2].partition("</h1>")[0]
    return _words(heading).replace("chevron_right", ">")


def _active(page: str) -> list[str]:
    found = re.findall(r'<a href="[^"]*" class="[^"]* active">(.*?)</a>', page, re.DOTALL)
    return [_words(re.sub(r'<span class="material-symbols-outlined[^>]*>[^<]*</span>', "", each)) for each in found]


WAYS = {
    "": ("Dashboard", "Dashboard"),
    "usage/requestrecord/find/": ("Find", "Find"),
    "accounts/user/": ("Users", "Accounts > Users"),
    "accounts/session/": ("Sessions", "Accounts > Sessions"),
    "accounts/apikey/": ("API keys", "Accounts > API keys"),
    "accounts/organization/": ("Organizations", "Accounts > Organizations"),
    "auth/group/": ("Groups", "Authentication and Authorization > Groups"),
    "conversations/conversation/": ("Conversations", "Chat > Conversations"),
    "conversations/conversation/quality/": ("Quality of replies", "Chat > Quality of replies"),
    "conversations/todo/": ("Todos", "Chat > Todos"),
    "usage/hourlyusage/": ("Hourly usage", "Usage > Hourly usage"),
    "usage/requestrecord/": ("Requests", "Usage > Requests"),
    "usage/earlyrefusal/": ("Early refusals", "Usage > Early refusals"),
    "usage/ledgerentry/users/": ("Costs of users", "Usage > Costs of users"),
    "usage/ledgerentry/": ("Ledger entries", "Usage > Ledger entries"),
    "usage/organizationusage/": ("Organization usage", "Usage > Organization usage"),
    "usage/dailytraffic/": ("Daily traffic", "Usage > Daily traffic"),
    "usage/budget/": ("Budgets", "Usage > Budgets"),
    "usage/spending/": ("Spending", "Usage > Spending"),
    "usage/modelprice/": ("Prices", "Usage > Prices"),
    "accounts/auditevent/": ("Audit events", "Accounts > Audit events"),
}


def test_every_page_of_the_sidebar_has_one_active_entry_a_way_and_a_title(root: Staff) -> None:
    first = root.get("").text
    sidebar = first.partition('id="nav-sidebar-apps"')[2].partition("</nav>")[0]
    links = re.findall(r'<a href="/admin/([^"]*)" class="flex h-', sidebar)
    assert set(links) == set(WAYS)
    for path, (entry, way) in WAYS.items():
        page = root.get(path).text
        assert (path, _active(page), _way(page)) == (path, [entry], way)
        title = _words(page.partition("<title>")[2].partition("</title>")[0])
        assert title.endswith("| EdgeChat"), title
        assert not title.startswith("Select"), title


def test_the_page_of_a_user_s_costs_is_below_the_costs_of_users(root: Staff) -> None:
    user = make_user("spender")
    page = root.get(f"usage/ledgerentry/users/{user.pk}/").text
    assert _active(page) == ["Costs of users"]
    assert _way(page) == f"Usage > Costs of users > {user.email}"


def test_only_a_choice_of_rows_is_counted_above_a_list(root: Staff) -> None:
    user = make_user("counted")
    assert "Show all" not in root.get("accounts/user/").text
    assert _way(root.get("accounts/user/", params={"q": user.email}).text) == "Accounts > Users 1 result ( Show all )"
    assert "1 user</div>" in root.get("accounts/user/", params={"q": user.email}).text
