"""The admin's look, its sidebar and its dashboard."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy

from edgechat.settings.deployment import APP_NAME


def _page(title: str, icon: str, model: str, view: str = "") -> dict[str, Any]:
    """An entry of the sidebar, for users who may see `model` (`app.model`). `view`: another page than its list."""
    app, _, name = model.partition(".")
    permissions = [f"{app}.{action}_{name}" for action in ("view", "change")]
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{view or f'{app}_{name}_changelist'}"),
        "permission": lambda request: any(map(request.user.has_perm, permissions)),
    }


def _section(title: str, *pages: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "items": pages}


# For people the default, "EdgeChat Backend", is EdgeChat.
SITE = APP_NAME.removesuffix(" Backend")

UNFOLD = {
    "SITE_TITLE": SITE,
    "SITE_HEADER": SITE,
    "SITE_SYMBOL": "forum",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda _: static("edgechat/icon.svg")}],
    "STYLES": [lambda _: static("edgechat/staff.css")],
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "usage.staff.dashboard_page.add_dashboard",
    "SIDEBAR": {
        "navigation": [
            {
                "items": [
                    _page("Dashboard", "monitoring", "usage.ledgerentry", "index"),
                    {
                        "title": "Find",
                        "icon": "search",
                        "link": reverse_lazy("admin:usage_requestrecord_find"),
                        "permission": "usage.staff.find_page.may_find",
                    },
                ]
            },
            _section(
                "People",
                _page("Users", "person", "accounts.user"),
                _page("Sessions", "devices", "accounts.session"),
                _page("API keys", "key", "accounts.apikey"),
                _page("Organizations", "corporate_fare", "accounts.organization"),
                {
                    **_page("Groups", "shield_person", "auth.group"),
                    "permission": lambda request: request.user.is_superuser,
                },
            ),
            _section(
                "Chat",
                _page("Conversations", "chat", "conversations.conversation"),
                _page(
                    "Quality of replies",
                    "thumb_down",
                    "conversations.conversation",
                    "conversations_conversation_quality",
                ),
                _page("Todos", "checklist", "conversations.todo"),
            ),
            _section(
                "Usage",
                _page("Hourly usage", "bar_chart", "usage.hourlyusage"),
                _page("Requests", "swap_horiz", "usage.requestrecord"),
                _page("Early refusals", "block", "usage.requestrecord", "usage_earlyrefusal_changelist"),
                _page("Costs of users", "leaderboard", "usage.ledgerentry", "usage_ledgerentry_users"),
                _page("Ledger entries", "receipt_long", "usage.ledgerentry"),
                _page("Organization usage", "domain", "usage.organizationusage"),
                _page("Daily traffic", "calendar_month", "usage.dailytraffic"),
                _page("Budgets", "savings", "usage.budget"),
                _page("Spending", "account_balance_wallet", "usage.spending"),
                _page("Prices", "sell", "usage.modelprice"),
            ),
            _section("Audit", _page("Audit events", "history", "accounts.auditevent")),
        ],
    },
}
