"""Base classes of the admin's pages: counts of large tables are bounded, and records are read-only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from django.contrib.admin import ShowFacets, SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.views.decorators.http import require_GET
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from accounts.models import Organization
from accounts.staff.audit import AuditedAdmin
from accounts.staff.csv_files import MAX_ROWS, ROWS_PER_BATCH, csv_response
from accounts.staff.filters import OwnerFilter, UserFilter, is_id
from accounts.staff.sessions import require_recent_password

# The cost of a page must not depend on the size of the table, so the number of counted rows is limited.
MAX_COUNTED = 10_000
MAX_OF_A_SEARCH = 1000


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

    @property
    def in_words(self) -> str:
        return f"{'More than ' if self.more_than_counted else ''}{self.count:,}"


class AllRows(ChangeList):  # type: ignore[misc]
    """The rows of a list with its filters and its search, in its order, without pages."""

    def get_results(self, request: HttpRequest) -> None:
        """Do nothing: the rows are read while they are sent."""


class StaffList(ChangeList):  # type: ignore[misc]
    """A list named after its rows. Its header tells their number only if filters or a search have chosen them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = capfirst(str(self.opts.verbose_name_plural))
        if not self.get_filters_params() and not self.query:
            self.full_result_count = self.result_count


class StaffModelAdmin(AuditedAdmin, ModelAdmin):  # type: ignore[misc]
    """Lists with a bounded cost: bounded counts, no facets, and only orders that an index supports.

    Every admin class inherits from this one, so the audit log has all changes by forms, and each list is also a CSV
    file for everybody who may see the list.
    """

    list_before_template: Any = "edgechat/list_csv.html"
    # Values for the CSV file of columns that the list shows for the eye, for example with thousands separators.
    csv_values: ClassVar[dict[str, Callable[[Any], Any]]] = {}

    paginator: Any = BoundedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 50
    list_disable_select_all = True
    sortable_by: Any = ()

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        urls: list[URLPattern] = super().get_urls()
        return [path("export.csv", self.admin_site.admin_view(self.csv_page), name=name), *urls]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return StaffList

    @method_decorator(require_GET)
    def csv_page(self, request: HttpRequest) -> HttpResponseBase:
        """The rows that the list has with the same filters and search, without its pages."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        require_recent_password(request)
        columns = self.get_list_display(request)
        try:
            found: QuerySet[Any] = self._all_rows(request, columns)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))
        list(found[:1])  # a list that cannot be read is told on a page

        def batches() -> Iterator[list[list[Any]]]:
            keys = list(found.values_list("pk", flat=True)[: MAX_ROWS + 1])  # after the first bytes have been sent
            for start in range(0, len(keys), ROWS_PER_BATCH):
                batch = keys[start : start + ROWS_PER_BATCH]
                rows = {row.pk: row for row in found.order_by().filter(pk__in=batch)}
                shown = [rows[key] for key in batch if key in rows]
                self.before_reading(request, shown)
                yield [[self._csv_value(name, row) for name in columns] for row in shown]

        headers = [capfirst(str(label_for_field(name, self.model, self))) for name in columns]
        return csv_response(request, str(self.opts.model_name), headers, batches)

    def before_reading(self, request: HttpRequest, rows: list[Any]) -> None:
        """Called with the rows of a list before their values are sent."""

    def _all_rows(self, request: HttpRequest, columns: Any) -> QuerySet[Any]:
        rows: QuerySet[Any] = AllRows(
            request,
            self.model,
            columns,
            (),
            self.get_list_filter(request),
            None,
            self.get_search_fields(request),
            self.get_list_select_related(request),
            self.list_per_page,
            self.list_max_show_all,
            (),
            self,
            (),
            None,
        ).queryset
        return rows

    def _csv_value(self, name: Any, row: Any) -> Any:
        if name in self.csv_values:
            return self.csv_values[name](row)
        field, _, value = lookup_field(name, row, self)
        return dict(field.flatchoices).get(value, value) if field is not None and field.flatchoices else value

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
    """Rows that belong to users, with search by a part of the user's e-mail address, or by the user's id.

    The search looks up the users first, then the rows by their index on the user. A join would read the whole table.
    """

    search_fields = ("user__email",)
    search_help_text = "A part of a user's e-mail, or a user's id"
    user_field = "user_id"

    def get_list_filter(self, request: HttpRequest) -> tuple[Any, ...]:
        """Links from a user's page choose the rows of this user by id."""
        return (OwnerFilter if self.user_field == "owner_id" else UserFilter, *super().get_list_filter(request))

    def matching(self, term: str) -> Q:
        """The rows that a search finds."""
        return Q(**{f"{self.user_field}__in": users_matching(term)})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.filter(self.matching(term)), False


class OfPayersAdmin(OfUsersAdmin):
    """Rows that also belong to organizations, which the search finds by a part of their name."""

    search_help_text = "A part of a user's e-mail or an organization's name, or a user's id"

    def matching(self, term: str) -> Q:
        return super().matching(term) | Q(organization_id__in=organizations_matching(term))


def users_matching(term: str) -> list[int]:
    """The ids of users whose e-mail address contains the text, or of the user with this id; at most 1000."""
    if is_id(term):
        return [int(term)]
    users = get_user_model().objects.filter(email__icontains=term)
    return list(users.values_list("pk", flat=True)[:MAX_OF_A_SEARCH])


def organizations_matching(term: str) -> list[int]:
    """The ids of organizations whose name contains the text; at most 1000."""
    if is_id(term):
        return []
    found = Organization.objects.filter(name__icontains=term)
    return list(found.values_list("pk", flat=True)[:MAX_OF_A_SEARCH])
