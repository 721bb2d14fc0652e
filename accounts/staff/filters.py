"""Filters of lists that links lead to. They offer no choices, because there are too many; they show the chosen one."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import Organization, User

MAX_ID_DIGITS = 18


def is_id(term: str) -> bool:
    """Whether a search term can be the id of a row."""
    return term.isascii() and term.isdigit() and len(term) <= MAX_ID_DIGITS


class ValueFilter(SimpleListFilter):
    """Rows with one value in `column`, as the address names it: `?route=chat/`."""

    column: ClassVar[str]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = self.value()
        return [] if value is None else [(value, self.name_of(value))]

    def name_of(self, value: str) -> str:
        return value

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        # PostgreSQL does not accept NUL.
        return queryset.none() if "\x00" in value else self.having(queryset, value)

    def having(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(**{self.column: value})


class _IdFilter(ValueFilter):
    """Rows of the object with the id in the address; none if it is not an id."""

    def having(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return super().having(queryset, value) if is_id(value) else queryset.none()


class UserFilter(_IdFilter):
    title, parameter_name, column = "user", "user", "user_id"

    def name_of(self, value: str) -> str:
        user = User.objects.filter(pk=int(value)).first() if is_id(value) else None
        return f"Unknown user {value}" if user is None else user.email


class OwnerFilter(UserFilter):
    column = "owner_id"


class MemberFilter(UserFilter):
    title, parameter_name, column = "member", "member", "memberships__user_id"


class OrganizationFilter(_IdFilter):
    title, parameter_name, column = "organization", "organization", "organization_id"

    def name_of(self, value: str) -> str:
        found = Organization.objects.filter(pk=int(value)).first() if is_id(value) else None
        return f"Unknown organization {value}" if found is None else found.name
