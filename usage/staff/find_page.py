"""The admin's search across tables: by request id, and for users and organizations by a part of their name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from accounts.models import AuditEvent, Organization, User
from accounts.staff.filters import is_id
from accounts.staff.pages import organizations_matching, users_matching
from accounts.staff.rights import may_see
from accounts.staff.site import show_way
from usage.models import LedgerEntry, RequestRecord
from usage.staff.reasons import in_words, route_in_words

# Of each kind. The lists show the others.
ROWS = 20
SEARCHED = ("usage.requestrecord", "usage.ledgerentry", "accounts.auditevent", "accounts.user", "accounts.organization")

Table = dict[str, Any]


def may_find(request: HttpRequest) -> bool:
    """Whether the user may see anything that the page searches."""
    return any(may_see(request, label) for label in SEARCHED)


def link_to_request(request_id: str) -> str:
    """A request id that leads to everything that has it."""
    if not request_id:
        return "-"
    return format_html('<a class="text-link" href="{}">{}</a>', _address(request_id), request_id)


@require_GET
def find_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    request.current_app = site.name
    if not may_find(request):
        raise PermissionDenied
    term = request.GET.get("q", "").strip()[:254]
    tables = _tables(request, term) if term and "\x00" not in term else []
    show_way(request, ("Find", ""))
    context = {**site.each_context(request), "title": "Find", "term": term, "tables": tables}
    return TemplateResponse(request, "usage/find.html", context)


def _tables(request: HttpRequest, term: str) -> list[Table]:
    makers = {
        "usage.requestrecord": _requests,
        "usage.ledgerentry": _calls,
        "accounts.auditevent": _events,
        "accounts.user": _users,
        "accounts.organization": _organizations,
    }
    tables = [make(request, term) for label, make in makers.items() if may_see(request, label)]
    return [table for table in tables if table["table"]["rows"]]


def _requests(request: HttpRequest, term: str) -> Table:
    rows = RequestRecord.objects.filter(request_id=term).select_related("user").order_by("-at")[:ROWS]
    return _table(
        RequestRecord,
        term,
        ["Answered", "User", "Request", "Status", "Reason", "Milliseconds"],
        [
            [
                _row(row, _time(row.at)),
                row.user,
                f"{row.method} {route_in_words(row.route)}",
                row.status,
                in_words(row.reason) if row.reason else "-",
                row.milliseconds,
            ]
            for row in rows
        ],
    )


def _calls(request: HttpRequest, term: str) -> Table:
    rows = LedgerEntry.objects.filter(request_id=term).select_related("user", "organization").order_by("-id")[:ROWS]
    return _table(
        LedgerEntry,
        term,
        ["Opened", "User", "Organization", "Purpose", "Model", "Tokens", "State"],
        [
            [
                _row(row, _time(row.opened_at)),
                row.user or "-",
                row.organization or "-",
                row.purpose,
                row.answered_by or row.model,
                row.input_tokens + row.output_tokens,
                "settled" if row.settled_at else "open",
            ]
            for row in rows
        ],
    )


def _events(request: HttpRequest, term: str) -> Table:
    rows = list(AuditEvent.objects.filter(request_id=term).order_by("-id")[:ROWS])
    emails = _emails(key for row in rows for key in (row.user_id, row.actor_id))
    return _table(
        AuditEvent,
        term,
        ["At", "Event", "Affected user", "Done by"],
        [
            [_row(row, _time(row.created_at)), row.event, _name(row.user_id, emails), _name(row.actor_id, emails)]
            for row in rows
        ],
    )


def _users(request: HttpRequest, term: str) -> Table:
    rows = User.objects.filter(pk__in=users_matching(term)[:ROWS]).order_by("-id")
    return _table(User, term, ["E-mail", "Name", "Id"], [[_row(row, row.email), row.full_name, row.pk] for row in rows])


def _organizations(request: HttpRequest, term: str) -> Table:
    keys = [int(term)] if is_id(term) else organizations_matching(term)[:ROWS]
    rows = Organization.objects.filter(pk__in=keys).order_by("-id")
    return _table(Organization, term, ["Name", "Id"], [[_row(row, row.name), row.pk] for row in rows])


def _table(model: type[Model], term: str, headers: list[str], rows: list[list[Any]]) -> Table:
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    title = str(model._meta.verbose_name_plural)
    return {
        "title": title[:1].upper() + title[1:],
        "all": f"{address}?{urlencode({'q': term})}" if len(rows) == ROWS else None,
        "table": {"headers": headers, "rows": rows},
    }


def _row(row: Model, text: str) -> str:
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a class="font-semibold text-link" href="{}">{}</a>', url, text)


def _emails(keys: Iterable[int | None]) -> dict[int, str]:
    wanted = {key for key in keys if key is not None}
    return dict(User.objects.filter(pk__in=wanted).values_list("pk", "email")) if wanted else {}


def _name(key: int | None, emails: dict[int, str]) -> str:
    return "-" if key is None else emails.get(key, f"deleted user {key}")


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _address(term: str) -> str:
    return f"{reverse('admin:usage_requestrecord_find')}?{urlencode({'q': term})}"
