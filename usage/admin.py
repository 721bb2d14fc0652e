"""The admin of requests, tokens, the ledger, prices and budgets. Staff can change only prices and budgets."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib import admin
from django.db.models import Field
from django.http import HttpRequest

from accounts.staff.filters import OrganizationFilter
from accounts.staff.pages import OfUsersAdmin, RecordAdmin, StaffModelAdmin
from usage.models import DailyTraffic, HourlyUsage, LedgerEntry, ModelPrice, OrganizationUsage, RequestRecord, Spending
from usage.staff.budget_admin import BudgetAdmin
from usage.staff.dashboard_page import exact, money
from usage.staff.filters import ModelFilter, RouteFilter, SlowerFilter, StatusFilter
from usage.staff.people_admin import OrganizationWithUsageAdmin, UserWithUsageAdmin

# Ten million units of the currency for a million tokens. If a cost exceeded the columns of the ledger or of the daily
# sums, calls could not be settled.
MAX_PRICE_MICROS = 10**13

__all__ = ["BudgetAdmin", "OrganizationWithUsageAdmin", "UserWithUsageAdmin"]


@admin.register(HourlyUsage)
class HourlyUsageAdmin(OfUsersAdmin, RecordAdmin):
    list_display = ("hour", "user", "requests", "input_tokens", "output_tokens")
    list_select_related = ("user",)
    ordering = ("-id",)  # rows are created when their hour begins, and no index starts with the hour


@admin.register(RequestRecord)
class RequestRecordAdmin(OfUsersAdmin, RecordAdmin):
    list_display = ("at", "user", "method", "route", "status", "milliseconds")
    list_select_related = ("user",)
    list_filter = (StatusFilter, SlowerFilter, RouteFilter, "at")
    ordering = ("-at",)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(OfUsersAdmin, RecordAdmin):
    list_display = (
        "opened_at",
        "user",
        "organization",
        "purpose",
        "model",
        "answered_by",
        "input_tokens",
        "output_tokens",
        "reserved_tokens",
        "cost",
        "estimated",
        "settled_at",
    )
    list_select_related = ("user", "organization")
    list_filter = (OrganizationFilter, ModelFilter, "purpose", "estimated", "settled_at")
    ordering = ("-id",)
    csv_values: ClassVar = {"cost": lambda entry: exact(entry.cost_micros)}

    @admin.display(description=f"cost ({settings.PRICE_CURRENCY})")
    def cost(self, entry: LedgerEntry) -> str:
        return "-" if entry.cost_micros is None else money(entry.cost_micros)


@admin.register(OrganizationUsage)
class OrganizationUsageAdmin(OfUsersAdmin, RecordAdmin):
    list_display = ("hour", "organization", "user", "input_tokens", "output_tokens")
    list_filter = (OrganizationFilter,)
    list_select_related = ("organization", "user")
    ordering = ("-id",)  # as in hourly usage


@admin.register(Spending)
class SpendingAdmin(OfUsersAdmin, RecordAdmin):
    list_display = ("user", "organization", "month", "month_tokens", "day", "day_tokens", "reserved_tokens")
    list_select_related = ("user", "organization")
    ordering = ("-id",)


@admin.register(DailyTraffic)
class DailyTrafficAdmin(RecordAdmin):
    list_display = ("date", "requests", "client_errors", "server_errors", "active_users")
    ordering = ("-date",)


@admin.register(ModelPrice)
class ModelPriceAdmin(StaffModelAdmin):
    """A price applies to calls made from its day on and settled from now on; past costs are not recalculated."""

    list_display = ("model", "valid_from", "input_price", "cached_input_price", "output_price", "updated_at")
    ordering = ("model", "-valid_from")
    search_fields = ("model",)
    fields = ("model", "valid_from", "input_micros", "cached_input_micros", "output_micros", "updated_at")
    csv_values: ClassVar = {
        "input_price": lambda price: exact(price.input_micros),
        "cached_input_price": lambda price: exact(price.cached_input_micros),
        "output_price": lambda price: exact(price.output_micros),
    }
    readonly_fields = ("updated_at",)

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name.endswith("_micros"):
            kwargs["max_value"] = MAX_PRICE_MICROS
            kwargs["help_text"] = f"{db_field.help_text} 300000 is 0.30 {settings.PRICE_CURRENCY}."
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @admin.display(description=f"input ({settings.PRICE_CURRENCY} per million tokens)")
    def input_price(self, price: ModelPrice) -> str:
        return money(price.input_micros)

    @admin.display(description="cached input")
    def cached_input_price(self, price: ModelPrice) -> str:
        return money(price.cached_input_micros)

    @admin.display(description="output")
    def output_price(self, price: ModelPrice) -> str:
        return money(price.output_micros)
