"""The admin of requests, tokens, the ledger, prices and budgets. Staff can change only prices and budgets."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.contrib import admin
from django.db.models import Field, Q
from django.db.models.lookups import Exact
from django.http import HttpRequest
from django.urls import URLPattern, path

from accounts.staff.filters import OrganizationFilter
from accounts.staff.pages import OfPayersAdmin, OfUsersAdmin, RecordAdmin, StaffModelAdmin
from usage.models import (
    DailyTraffic,
    HourlyUsage,
    LedgerEntry,
    ModelPrice,
    OrganizationUsage,
    RequestRecord,
    Spending,
    paid_model,
)
from usage.staff.budget_admin import BudgetAdmin
from usage.staff.dashboard_page import exact, money
from usage.staff.filters import ModelFilter, ReasonFilter, RouteFilter, SlowerFilter, StatusFilter
from usage.staff.find_page import find_page, link_to_request
from usage.staff.people_admin import OrganizationWithUsageAdmin, UserWithUsageAdmin
from usage.staff.reasons import in_words, route_in_words
from usage.staff.refusal_admin import EarlyRefusalAdmin
from usage.staff.spending_pages import SpendingPages

# Ten million units of the currency for a million tokens. If a cost exceeded the columns of the ledger or of the daily
# sums, calls could not be settled.
MAX_PRICE_MICROS = 10**13

__all__ = ["BudgetAdmin", "EarlyRefusalAdmin", "OrganizationWithUsageAdmin", "UserWithUsageAdmin"]


@admin.register(HourlyUsage)
class HourlyUsageAdmin(OfUsersAdmin, RecordAdmin):
    list_display = ("hour", "user", "requests", "input_tokens", "output_tokens")
    list_select_related = ("user",)
    ordering = ("-hour",)


@admin.register(RequestRecord)
class RequestRecordAdmin(OfUsersAdmin, RecordAdmin):
    list_display = ("at", "user", "method", "shown_route", "status", "shown_reason", "milliseconds", "shown_request_id")
    list_select_related = ("user",)
    list_filter = (StatusFilter, ReasonFilter, SlowerFilter, RouteFilter, "at")
    csv_values: ClassVar = {
        "shown_route": lambda record: record.route,
        "shown_reason": lambda record: record.reason,
        "shown_request_id": lambda record: record.request_id,
    }
    ordering = ("-at",)
    search_help_text = "A part of a user's e-mail, a user's id, or a request id"

    def get_urls(self) -> list[URLPattern]:
        find = self.admin_site.admin_view(partial(find_page, site=self.admin_site))
        return [path("find/", find, name="usage_requestrecord_find"), *super().get_urls()]

    def matching(self, term: str) -> Q:
        return super().matching(term) | Q(request_id=term)

    @admin.display(description="route")
    def shown_route(self, record: RequestRecord) -> str:
        return route_in_words(record.route)

    @admin.display(description="reason")
    def shown_reason(self, record: RequestRecord) -> str:
        return in_words(record.reason) if record.reason else "-"

    @admin.display(description="request id")
    def shown_request_id(self, record: RequestRecord) -> str:
        return link_to_request(record.request_id)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(OfPayersAdmin, SpendingPages):
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
        "shown_request_id",
    )
    list_select_related = ("user", "organization")
    list_filter = (OrganizationFilter, ModelFilter, "purpose", "estimated", "settled_at")
    ordering = ("-settled_at",)  # open calls first; each filter has an index in this order
    csv_values: ClassVar = {
        "cost": lambda entry: exact(entry.cost_micros),
        "shown_request_id": lambda entry: entry.request_id,
    }
    search_help_text = f"{OfPayersAdmin.search_help_text}, a model's whole name, or a request id"

    def matching(self, term: str) -> Q:
        return super().matching(term) | Q(request_id=term) | Q(Exact(paid_model(), term))

    @admin.display(description="request id")
    def shown_request_id(self, entry: LedgerEntry) -> str:
        return link_to_request(entry.request_id)

    @admin.display(description=f"cost ({settings.PRICE_CURRENCY})")
    def cost(self, entry: LedgerEntry) -> str:
        return "-" if entry.cost_micros is None else money(entry.cost_micros)


@admin.register(OrganizationUsage)
class OrganizationUsageAdmin(OfPayersAdmin, RecordAdmin):
    list_display = ("hour", "organization", "user", "input_tokens", "output_tokens")
    list_filter = (OrganizationFilter,)
    list_select_related = ("organization", "user")
    ordering = ("-id",)  # rows are created when their hour begins, and no index starts with the hour


@admin.register(Spending)
class SpendingAdmin(OfPayersAdmin, RecordAdmin):
    list_display = ("user", "organization", "month", "month_tokens", "cost", "day", "day_tokens", "reserved_tokens")
    list_select_related = ("user", "organization")
    ordering = ("-id",)
    csv_values: ClassVar = {"cost": lambda spending: exact(spending.month_cost_micros)}

    @admin.display(description=f"cost of the month ({settings.PRICE_CURRENCY})")
    def cost(self, spending: Spending) -> str:
        return money(spending.month_cost_micros)


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
