"""Requests, tokens, the ledger and budgets, for staff. Only budgets can be changed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError

from edgechat.admin_pages import OfUsersAdmin, RecordAdmin
from usage.models import Budget, HourlyUsage, LedgerEntry, RequestRecord


@admin.register(HourlyUsage)
class HourlyUsageAdmin(OfUsersAdmin, RecordAdmin):
    list_display = ("hour", "user", "requests", "input_tokens", "output_tokens")
    list_select_related = ("user",)
    ordering = ("-id",)  # rows are made when their hour begins, and no index has the hour first


@admin.register(RequestRecord)
class RequestRecordAdmin(OfUsersAdmin, RecordAdmin):
    list_display = ("at", "user", "method", "route", "status", "milliseconds")
    list_select_related = ("user",)
    list_filter = ("at",)
    ordering = ("-at",)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(OfUsersAdmin, RecordAdmin):
    list_display = (
        "opened_at",
        "user",
        "organization",
        "purpose",
        "model",
        "input_tokens",
        "output_tokens",
        "estimated",
        "settled_at",
    )
    list_select_related = ("user", "organization")
    list_filter = ("purpose", "estimated", "settled_at")
    ordering = ("-id",)


class BudgetForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Budget
        fields = ("user", "organization", "period", "token_limit")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if not self.errors and bool(self.cleaned_data.get("user")) == bool(self.cleaned_data.get("organization")):
            raise ValidationError("A budget is of one user or of one organization.")
        return cleaned


@admin.register(Budget)
class BudgetAdmin(OfUsersAdmin):
    form = BudgetForm
    list_display = ("id", "user", "organization", "period", "token_limit")
    list_select_related = ("user", "organization")
    list_filter = ("period",)
    ordering = ("-id",)
    autocomplete_fields = ("user", "organization")
