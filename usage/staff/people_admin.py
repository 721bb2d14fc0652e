"""This app's part of the pages of users and organizations: their usage and budgets."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from unfold.decorators import action

from accounts.admin import AccountAdmin, OrganizationAdmin
from accounts.models import Organization, User
from accounts.staff.audit import WITH_ROWS_OF_THEIR_OWN
from accounts.staff.user_actions import CONFIRMED
from usage.ledger.budgets import DEFAULT, Period, budgets_of, limit_of, period_end, remove_budget, set_budget, used_in
from usage.models import Budget, Spending
from usage.reports.services import user_usage
from usage.staff.budget_admin import BudgetInline, SetBudgetForm, may_set_budget, record_change

admin.site.unregister((User, Organization))
WITH_ROWS_OF_THEIR_OWN.add(Budget._meta.label_lower)


@admin.register(User)
class UserWithUsageAdmin(AccountAdmin):
    actions = (*AccountAdmin.actions, "set_budget")
    actions_detail = ("set_budget", *AccountAdmin.actions_detail)
    change_form_outer_before_template = "usage/staff_tables.html"

    def may_set_budget(self, request: HttpRequest, user: User | None = None) -> bool:
        allowed = all(request.user.has_perm(f"usage.{change}_budget") for change in ("add", "change", "delete"))
        return allowed and (user is None or (user.deletion_requested_at is None and may_set_budget(request, user)))

    @action(description="Set budget", url_path="set-budget", icon="savings")  # type: ignore[untyped-decorator]
    def set_budget(self, request: HttpRequest, queryset: Any = None, object_id: str | None = None) -> HttpResponseBase:
        answered = request.method == "POST" and CONFIRMED in request.POST
        form = SetBudgetForm(request.POST if answered else None)

        def store(user: User) -> None:
            period, tokens = form.cleaned_data["period"], form.cleaned_data["tokens"]
            before = limit_of(user, period)
            if form.cleaned_data["budget"] == SetBudgetForm.DEFAULT:
                remove_budget(subject=user, period=period)
                tokens = SetBudgetForm.DEFAULT
            else:
                set_budget(subject=user, period=period, token_limit=tokens)
            record_change(request, Budget(user=user, period=period), tokens, before=before)

        return self.ask_or_act(
            request,
            "set_budget",
            store,
            self.chosen(request, queryset, object_id),
            title="Set budget",
            text="It counts from the next call to the model on; what was used in the period stays used.",
            form=form,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        user = self.get_object(request, unquote(object_id))
        tables = _tables(request, user) if user is not None else []
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "usage_tables": tables})


@admin.register(Organization)
class OrganizationWithUsageAdmin(OrganizationAdmin):
    inlines = (*OrganizationAdmin.inlines, BudgetInline)
    change_form_outer_before_template = "usage/staff_tables.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        organization = self.get_object(request, unquote(object_id))
        tables = _tables(request, organization) if organization is not None else []
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "usage_tables": tables})

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
        "headers": ["", "In all", "Last 24 hours", "Last 7 days"],
        "rows": [
            ["Requests", *_numbers(usage["total_requests"], usage["requests_last_24h"], usage["requests_last_7d"])],
            ["Tokens", *_numbers(tokens["total"], tokens["last_24h"], tokens["last_7d"])],
        ],
    }


def _budget_table(subject: User | Organization) -> dict[str, Any]:
    now = timezone.now()
    states = {state.period: state for state in budgets_of(subject)}
    spending = Spending.objects.filter(**{type(subject).__name__.lower(): subject}).first()
    names: dict[Period, str] = {"month": "This month", "day": "Today"}
    rows = []
    for period, name in names.items():
        state = states.get(period)
        used = used_in(spending, period, now) if spending is not None else 0
        limit, left = ("no limit", "-") if state is None else _numbers(state.limit, state.remaining)
        rows.append([name, *_numbers(used), limit, left, f"{period_end(period, now):%Y-%m-%d}"])
    return {
        "title": "Tokens and budgets",
        "headers": ["", "Used", "Budget", "Left", "Begins anew"],
        "rows": rows,
    }


def _numbers(*values: int) -> list[str]:
    return [f"{value:,}" for value in values]
