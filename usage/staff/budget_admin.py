"""Budgets in the admin: every change is written to the audit log."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Case, OuterRef, QuerySet, Subquery, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminBigIntegerFieldWidget, UnfoldAdminSelectWidget

from accounts.models import Organization, User
from accounts.staff.pages import OfPayersAdmin
from accounts.staff.rights import is_superuser
from edgechat.http.client_address import caller_of
from usage.ledger.budgets import DEFAULT, Limit, Period, period_start
from usage.ledger.queries import limit_of
from usage.ledger.services import record_budget
from usage.models import Budget, Spending

PERIODS: tuple[Period, ...] = ("month", "day")


def may_set_budget(request: HttpRequest, user: User | None) -> bool:
    """Staff who are not superusers may not change the budgets of staff, including their own."""
    if user is None or is_superuser(request):
        return True
    return not (user.is_staff or user.is_superuser)


def record_change(request: HttpRequest, budget: Budget, limit: Limit, *, before: Limit) -> None:
    record_budget(budget, limit, before=before, caller=caller_of(request), actor_id=request.user.pk)


def _used(owner: str, period: Period) -> Subquery:
    """The tokens that the owner of a budget has used in the current period. Evaluated for displayed rows only."""
    spent = Spending.objects.filter(**{owner: OuterRef(owner), period: period_start(period, timezone.now())})
    return Subquery(spent.values(f"{period}_tokens")[:1])


class SetBudgetForm(forms.Form):
    """One budget of a user: a number of tokens, no limit, or the default."""

    TOKENS, UNLIMITED, DEFAULT = "tokens", "unlimited", DEFAULT

    period = forms.ChoiceField(choices=Budget.Period.choices, widget=UnfoldAdminSelectWidget)
    budget = forms.ChoiceField(
        choices=[
            (TOKENS, "A number of tokens"),
            (UNLIMITED, "No limit"),
            (DEFAULT, "The default: MONTHLY_TOKEN_LIMIT a month, no limit a day"),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    tokens = forms.IntegerField(
        min_value=0,
        max_value=2**62,
        required=False,
        widget=UnfoldAdminBigIntegerFieldWidget,
        help_text="In the calendar month or day, UTC. 0: no tokens.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = dict(super().clean() or {})
        if not self.errors and (cleaned["budget"] == self.TOKENS) != (cleaned.get("tokens") is not None):
            raise ValidationError("Write how many tokens, or choose no limit or the default and leave them empty.")
        return cleaned


@admin.register(Budget)
class BudgetAdmin(OfPayersAdmin):
    fields = ("user", "organization", "period", "token_limit")
    list_display = ("id", "user", "organization", "period", "token_limit", "used")
    list_select_related = ("user", "organization")
    list_filter = ("period",)
    ordering = ("-id",)
    autocomplete_fields = ("user", "organization")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        """With the tokens that are used in the budget's current period; None before the first call."""
        budgets: QuerySet[Budget] = super().get_queryset(request)
        used = {period: Coalesce(*(_used(owner, period) for owner in ("user", "organization"))) for period in PERIODS}
        return budgets.annotate(
            used_tokens=Case(*(When(period=period, then=tokens) for period, tokens in used.items()))
        )

    @admin.display(description="used")
    def used(self, budget: Budget) -> str:
        used: int = budget.used_tokens or 0  # type: ignore[attr-defined]
        percent = f" ({100 * used // budget.token_limit} %)" if budget.token_limit else ""
        return f"{used:,}{percent}"

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> tuple[str, ...]:
        return () if obj is None else ("user", "organization", "period")

    def has_change_permission(self, request: HttpRequest, obj: Budget | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or may_set_budget(request, obj.user))

    def has_delete_permission(self, request: HttpRequest, obj: Budget | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or may_set_budget(request, obj.user))

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        if not may_set_budget(request, obj.user):
            raise PermissionDenied
        before = limit_of(obj.user or cast(Organization, obj.organization), cast(Period, obj.period))
        super().save_model(request, obj, form, change)
        record_change(request, obj, obj.token_limit, before=before)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Do nothing: `save_model` has written the audit log."""

    def described(self, obj: Budget) -> None:
        """None: `delete_model` writes the row of the audit log."""

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        before = obj.token_limit
        super().delete_model(request, obj)
        record_change(request, obj, DEFAULT, before=before)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        for budget in queryset:
            self.delete_model(request, budget)


class OwnedBudgetForm(forms.ModelForm):  # type: ignore[type-arg]
    """A budget on its owner's page. Its period cannot change: the old period would lose its budget without an entry in
    the audit log."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None and "period" in self.fields:
            self.fields["period"].disabled = True


class BudgetInline(TabularInline):  # type: ignore[misc]
    model = Budget
    form = OwnedBudgetForm
    fields = ("period", "token_limit")
    extra = 0
    max_num = len(Budget.Period)
    hide_title = True
