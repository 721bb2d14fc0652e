"""This app's part of the pages of users and organizations: their usage and budgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from unfold.decorators import action

from accounts.admin import AccountAdmin, OrganizationAdmin
from accounts.models import Organization, User
from accounts.staff.audit import WITH_ROWS_OF_THEIR_OWN
from accounts.staff.pages import StaffModelAdmin
from accounts.staff.rights import may_see
from accounts.staff.user_actions import CONFIRMED
from edgechat.http.client_address import caller_of
from usage.ledger.budgets import DEFAULT, Limit, Period, period_end
from usage.ledger.queries import budgets_of, spending_of, used_in
from usage.ledger.services import set_budget
from usage.models import Budget
from usage.reports.queries import user_usage
from usage.staff.budget_admin import BudgetInline, SetBudgetForm, may_set_budget, record_change
from usage.staff.spans import Span

admin.site.unregister((User, Organization))
WITH_ROWS_OF_THEIR_OWN.add(Budget._meta.label_lower)


class Rows(NamedTuple):
    """A list with rows of a user or an organization. `{id}` in the values of `query` becomes their id.

    `seen_with`: the model whose permission the list needs, if it has none of its own.
    """

    title: str
    model: str
    query: dict[str, str]
    seen_with: str = ""


# What other apps count of a user in a span: words, and the address of the rows or an empty string.
COUNTS_OF_USERS: list[Callable[[HttpRequest, User, Span], list[tuple[str, str]]]] = []

_OF_USER = {"user": "{id}"}
ROWS_OF_USERS = (
    Rows("Conversations", "conversations.conversation", {"q": "{id}"}),
    Rows("Requests", "usage.requestrecord", _OF_USER),
    Rows("Failed requests", "usage.requestrecord", {**_OF_USER, "status": "failed"}),
    Rows("Early refusals", "usage.earlyrefusal", _OF_USER, seen_with="usage.requestrecord"),
    Rows("Ledger", "usage.ledgerentry", _OF_USER),
    Rows("Hourly usage", "usage.hourlyusage", _OF_USER),
    Rows("Organizations", "accounts.organization", {"member": "{id}"}),
    Rows("Sessions", "accounts.session", _OF_USER),
    Rows("API keys", "accounts.apikey", _OF_USER),
    Rows("Todos", "conversations.todo", _OF_USER),
    Rows("Audit events", "accounts.auditevent", _OF_USER),
)
_OF_ORGANIZATION = {"organization": "{id}"}
ROWS_OF_ORGANIZATIONS = (
    Rows("Ledger", "usage.ledgerentry", _OF_ORGANIZATION),
    Rows("Organization usage", "usage.organizationusage", _OF_ORGANIZATION),
)


class WithUsageTables(StaffModelAdmin):
    """Shows the usage and the budgets of a user or an organization above its form, and links to their other rows."""

    change_form_outer_before_template = "usage/staff_tables.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        subject = self.get_object(request, unquote(object_id))
        shown = {} if subject is None else {"usage_tables": _tables(request, subject), "rows": links(request, subject)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})


@admin.register(User)
class UserWithUsageAdmin(WithUsageTables, AccountAdmin):  # type: ignore[misc]
    actions = (*AccountAdmin.actions, "set_budget")
    actions_detail = ("set_budget", *AccountAdmin.actions_detail)

    def may_set_budget(self, request: HttpRequest, user: User | None = None) -> bool:
        allowed = all(request.user.has_perm(f"usage.{change}_budget") for change in ("add", "change", "delete"))
        return allowed and (user is None or (user.deletion_requested_at is None and may_set_budget(request, user)))

    @action(description="Set budget", url_path="set-budget", icon="savings")  # type: ignore[untyped-decorator]
    def set_budget(self, request: HttpRequest, queryset: Any = None, object_id: str | None = None) -> HttpResponseBase:
        answered = request.method == "POST" and CONFIRMED in request.POST
        form = SetBudgetForm(request.POST if answered else None)

        def store(user: User) -> None:
            chosen = form.cleaned_data
            limit: Limit = DEFAULT if chosen["budget"] == DEFAULT else chosen["tokens"]
            set_budget(
                subject=user,
                period=chosen["period"],
                token_limit=limit,
                caller=caller_of(request),
                actor_id=request.user.pk,
            )

        return self.ask_or_act(
            request,
            "set_budget",
            store,
            self.chosen(request, queryset, object_id),
            title="Set budget",
            text="It applies from the next call to the model on. Tokens used earlier in the period still count.",
            form=form,
        )


@admin.register(Organization)
class OrganizationWithUsageAdmin(WithUsageTables, OrganizationAdmin):
    inlines = (*OrganizationAdmin.inlines, BudgetInline)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        super().save_formset(request, form, formset, change)
        if formset.model is not Budget:
            return
        limits = {id(form.instance): form.initial.get("token_limit") for form in formset.initial_forms}
        for budget in formset.deleted_objects:
            record_change(request, budget, DEFAULT, before=limits.get(id(budget)))
        for budget in formset.new_objects:
            record_change(request, budget, budget.token_limit, before=DEFAULT)
        for budget, _ in formset.changed_objects:
            record_change(request, budget, budget.token_limit, before=limits.get(id(budget)))


def links(request: HttpRequest, subject: User | Organization) -> list[tuple[str, str]]:
    """The title and the address of each list with rows of a user or an organization, of those that the requesting user
    may see."""
    found = ROWS_OF_USERS if isinstance(subject, User) else ROWS_OF_ORGANIZATIONS
    costs = isinstance(subject, User) and request.user.has_perm("usage.view_ledgerentry")
    replies = isinstance(subject, User) and may_see(request, "conversations.conversation")
    quality = reverse("admin:conversations_conversation_quality")
    return [
        *([("Costs", reverse("admin:usage_ledgerentry_user", args=[subject.pk]))] if costs else []),
        *(
            (
                rows.title,
                reverse(f"admin:{rows.model.replace('.', '_')}_changelist")
                + "?"
                + urlencode({name: value.format(id=subject.pk) for name, value in rows.query.items()}),
            )
            for rows in found
            if may_see(request, rows.seen_with or rows.model)
        ),
        *([("Quality of replies", f"{quality}?user={subject.pk}")] if replies else []),
    ]


def _tables(request: HttpRequest, subject: User | Organization) -> list[dict[str, Any]]:
    """The usage and budgets of a user or an organization, as far as the requesting user may see them."""
    tables = []
    if isinstance(subject, User) and request.user.has_perm("usage.view_hourlyusage"):
        tables.append(_usage_table(subject))
    if request.user.has_perm("usage.view_budget"):
        tables.append(_budget_table(subject))
    return tables


def _usage_table(user: User) -> dict[str, Any]:
    usage = user_usage(user.pk)
    tokens = usage["tokens"]
    return {
        "title": "Usage",
        "headers": ["", "Total", "Last 24 hours", "Last 7 days"],
        "rows": [
            ["Requests", *_numbers(usage["total_requests"], usage["requests_last_24h"], usage["requests_last_7d"])],
            ["Tokens", *_numbers(tokens["total"], tokens["last_24h"], tokens["last_7d"])],
        ],
    }


def _budget_table(subject: User | Organization) -> dict[str, Any]:
    spending = spending_of(subject)
    states = {state.period: state for state in budgets_of(subject, spending)}
    names: dict[Period, str] = {"month": "This month", "day": "Today"}
    rows = []
    for period, name in names.items():
        state = states.get(period)
        limit, left = ("no limit", "-") if state is None else _numbers(state.limit, state.remaining)
        end = period_end(period, timezone.now())
        rows.append([name, *_numbers(used_in(spending, period)), limit, left, f"{end:%Y-%m-%d}"])
    return {
        "title": "Tokens and budgets",
        "headers": ["", "Used", "Budget", "Left", "Resets on"],
        "rows": rows,
    }


def _numbers(*values: int) -> list[str]:
    return [f"{value:,}" for value in values]
