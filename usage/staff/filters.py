"""Filters of requests and of the ledger. The figures of the dashboard link to them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.admin import SimpleListFilter
from django.db.models import Q, QuerySet
from django.db.models.lookups import Exact
from django.http import HttpRequest

from accounts.staff.filters import ValueFilter, is_id
from usage.models import paid_model
from usage.staff.reasons import REFUSALS, UNKNOWN, USUAL_EARLY, in_words, reasons_of

REFUSED = 429
_CLASSES = {"failed": (400, 999), "4xx": (400, 499), "5xx": (500, 999)}


class StatusFilter(SimpleListFilter):
    """By a class of statuses or by one status, for example `?status=429`. An index has the requests that failed."""

    title, parameter_name = "status", "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        found = [
            ("failed", "Failed"),
            ("4xx", "Client errors (4xx)"),
            ("5xx", "Server errors (5xx)"),
            ("refused", "Refused"),
        ]
        value = self.value()
        return found if value is None or value in dict(found) else [*found, (value, value)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if value in _CLASSES:
            lowest, highest = _CLASSES[value]
            return queryset.filter(status__gte=lowest, status__lte=highest)
        if value == "refused":
            return queryset.filter(Q(status=REFUSED) | Q(reason__in=REFUSALS), status__gte=400)
        return queryset.filter(status=int(value)) if is_id(value) and len(value) == 3 else queryset.none()


class ReasonFilter(SimpleListFilter):
    """By the code of the error, or by one of its limits: `?reason=budget_exceeded:user_month`."""

    title, parameter_name = "reason", "reason"
    offered: ClassVar[tuple[str, ...]] = tuple(REFUSALS)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = self.value()
        found = self.offered if value is None or value in self.offered else (*self.offered, value)
        return [(reason, "Not recorded" if reason == UNKNOWN else in_words(reason)) for reason in found]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if "\x00" in value:
            return queryset.none()
        return queryset.filter(reason__in=reasons_of(value), status__gte=400)


class EarlyReasonFilter(ReasonFilter):
    """The same for refusals that have no single records."""

    offered = USUAL_EARLY


class SlowerFilter(SimpleListFilter):
    """By the shortest duration in milliseconds, for example `?slower=1000`; without long calls, as in the latency."""

    title, parameter_name = "duration", "slower"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        found = [("1000", "1 s and longer"), ("5000", "5 s and longer"), ("30000", "30 s and longer")]
        value = self.value()
        return found if value is None or value in dict(found) else [*found, (value, f"{value} ms and longer")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if not (is_id(value) and len(value) < 10):
            return queryset.none()
        return queryset.filter(milliseconds__gte=int(value), is_long=False)


class RouteFilter(ValueFilter):
    title, parameter_name, column = "route", "route", "route"


class ModelFilter(ValueFilter):
    """By the model whose price applies: the one that answered, else the requested one."""

    title, parameter_name = "model", "model"

    def having(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(Exact(paid_model(), value))
