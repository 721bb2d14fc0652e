"""Base classes of the admin's pages: counts of large tables are bounded, and records are read-only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin import ShowFacets, SimpleListFilter
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin

from accounts.staff.audit import AuditedAdmin
from accounts.staff.sessions import require_recent_password

# The cost of a page must not depend on the size of the table, so the number of counted rows is limited.
MAX_COUNTED = 10_000
MAX_USERS_OF_A_SEARCH = 1000


class StateFilter(SimpleListFilter):
    """Rows with an `ended_at` and an `expires_at`, by whether they are live, expired or ended."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("live", "Live"), ("expired", "Expired"), ("ended", "Ended")]

    def queryset(self, request: HttpRequest, queryset: Any) -> QuerySet[Any]:
        rows: QuerySet[Any] = queryset
        match self.value():
            case "live":
                rows = queryset.live()
            case "expired":
                rows = queryset.filter(ended_at=None, expires_at__lte=timezone.now())
            case "ended":
                rows = queryset.filter(ended_at__isnull=False)
        return rows


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts and shows at most MAX_COUNTED rows. Search and filters find the others."""

    template_name = "edgechat/bounded_pagination.html"

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        # Keys only: the count needs neither the order nor computed columns.
        return int(rows.order_by().values("pk")[: MAX_COUNTED + 1].count())

    @property
    def count(self) -> int:
        return min(self._counted, MAX_COUNTED)

    @property
    def more_than_counted(self) -> bool:
        return self._counted > MAX_COUNTED


class StaffModelAdmin(AuditedAdmin, ModelAdmin):  # type: ignore[misc]
    """Lists with a bounded cost: bounded counts, no facets, and only orders that an index supports.

    Every admin class inherits from this one, so the audit log has all changes by forms.
    """

    paginator: Any = BoundedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 50
    list_disable_select_all = True
    sortable_by: Any = ()

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        require_recent_password(request)
        return super().delete_view(request, object_id, extra_context)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        if "delete_selected" in request.POST.getlist("action"):
            require_recent_password(request)
        return super().response_action(request, queryset)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Any]) -> Any:
        # Django calls this before each deletion.
        require_recent_password(request)
        return super().log_deletions(request, queryset)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        if any(formset.deleted_forms for formset in formsets):
            require_recent_password(request)
        super().save_related(request, form, formsets, change)

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Allow the list's filters only.

        Django also allows lookups like `title__startswith`, even on columns that no page shows.
        """
        field = lookup.partition("__")[0]
        filters = self.get_list_filter(request) if request is not None else self.list_filter
        named = {
            each[0] if isinstance(each, tuple | list) else getattr(each, "parameter_name", each) for each in filters
        }
        allowed: bool = field in named and super().lookup_allowed(lookup, value, request)
        return allowed


class RecordAdmin(StaffModelAdmin):
    """Rows that the application writes. Staff with the view permission can read them; they cannot be changed."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class OfUsersAdmin(StaffModelAdmin):
    """Rows that belong to users, with search by the user's e-mail address or id.

    The search looks up the users first, then the rows by their index on the user. A join would read the whole table.
    """

    search_fields = ("user__email",)
    search_help_text = "E-mail or id of a user"
    user_field = "user_id"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.filter(**{f"{self.user_field}__in": users_matching(term)}), False


def users_matching(term: str) -> list[int]:
    """The ids of users whose e-mail address contains the text, or of the user with this id; at most 1000."""
    if is_id(term):
        return [int(term)]
    users = get_user_model().objects.filter(email__icontains=term)
    return list(users.values_list("pk", flat=True)[:MAX_USERS_OF_A_SEARCH])


def is_id(term: str) -> bool:
    """Whether a search term can be the id of a row."""
    return term.isascii() and term.isdigit() and len(term) <= 18
