"""The admin of requests that were refused before their user was checked: sums by hour, reason and route."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from accounts.staff.pages import OfUsersAdmin, RecordAdmin
from accounts.staff.rights import may_see
from usage.models import EarlyRefusal
from usage.staff.filters import EarlyReasonFilter, RouteFilter
from usage.staff.reasons import in_words, route_in_words


@admin.register(EarlyRefusal)
class EarlyRefusalAdmin(OfUsersAdmin, RecordAdmin):
    """For staff who may see requests, because these are requests too."""

    list_display = ("hour", "shown_reason", "status", "shown_route", "user", "requests")
    list_select_related = ("user",)
    list_filter = (EarlyReasonFilter, RouteFilter, "hour")
    ordering = ("-hour", "-id")
    csv_values: ClassVar = {
        "shown_reason": lambda refusal: refusal.reason,
        "shown_route": lambda refusal: refusal.route,
    }

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_see(request, "usage.requestrecord")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @admin.display(description="reason")
    def shown_reason(self, refusal: EarlyRefusal) -> str:
        return in_words(refusal.reason)

    @admin.display(description="route")
    def shown_route(self, refusal: EarlyRefusal) -> str:
        return route_in_words(refusal.route) if refusal.route else "-"
