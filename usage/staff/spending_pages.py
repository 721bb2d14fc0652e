"""The admin's pages of who spent what in a span of days, and the CSV files of the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_GET

from accounts.models import User
from accounts.staff.csv_files import csv_response
from accounts.staff.filters import is_id
from accounts.staff.pages import RecordAdmin
from accounts.staff.rights import may_see
from accounts.staff.sessions import require_recent_password
from accounts.staff.site import show_way
from usage.models import LedgerEntry
from usage.staff import spans
from usage.staff.charts import TRAFFIC, Links, charts_of, linked
from usage.staff.dashboard_page import (
    amount,
    cost_headers,
    exact,
    numbers,
    percent,
    refusal_links,
    span_context,
    user_headers,
    users_table,
)
from usage.staff.people_admin import COUNTS_OF_USERS
from usage.staff.people_admin import links as links_of_user
from usage.staff.queries import cost_of, read_dashboard
from usage.staff.reasons import UNKNOWN, in_words, route_in_words
from usage.staff.spans import span_of
from usage.staff.spenders import Spender, spenders, spent_by

ROWS = 100
# All of them are in memory at once.
ROWS_OF_FILE = 10_000


class SpendingPages(RecordAdmin):
    """More pages for those who may see the ledger. Their addresses name the span: usage.staff.spans."""

    def get_urls(self) -> list[URLPattern]:
        pages: dict[str, tuple[str, Callable[..., HttpResponseBase]]] = {
            "users": ("users/", self.users_page),
            "users_csv": ("users.csv", self.users_csv),
            "user": ("users/<str:user_id>/", self.user_page),
            "chart": ("charts/<slug:slug>.csv", self.chart_csv),
        }
        return [
            *(
                path(route, self.admin_site.admin_view(view), name=f"usage_ledgerentry_{name}")
                for name, (route, view) in pages.items()
            ),
            *super().get_urls(),
        ]

    @method_decorator(require_GET)
    def users_page(self, request: HttpRequest) -> HttpResponseBase:
        """The users who spent the most."""
        self._require_ledger(request)
        show_way(request, self._usage(), ("Costs of users", ""))
        span, fault = span_of(request)
        found, links = spenders(span, rows=ROWS + 1), Links(request)
        return self._render(
            request,
            "spenders",
            title=f"Costs of users, {span}",
            table=users_table(found[:ROWS], span, links, cost_of(span)),
            has_more=len(found) > ROWS,
            csv=f"{reverse('admin:usage_ledgerentry_users_csv')}?{span.query}",
            **span_context(span, fault),
        )

    @method_decorator(require_GET)
    def users_csv(self, request: HttpRequest) -> HttpResponseBase:
        self._require_ledger(request)
        require_recent_password(request)
        links = Links(request)

        def batches() -> Iterator[list[list[Any]]]:
            yield [_csv_row(each, links) for each in spenders(span_of(request)[0], rows=ROWS_OF_FILE)]

        headers = ["Id", *user_headers(links), "Unpriced calls", f"Cost ({settings.PRICE_CURRENCY})"]
        if links.may_see_requests:
            headers.append("Refused because")
        return csv_response(request, "costs-of-users", headers, batches)

    @method_decorator(require_GET)
    def user_page(self, request: HttpRequest, user_id: str) -> HttpResponseBase:
        """What one user spent, on what, and which of their requests failed."""
        self._require_ledger(request)
        user = User.objects.filter(pk=int(user_id)).first() if is_id(user_id) else None
        if user is None:
            raise Http404
        span, fault = span_of(request)
        users = f"{reverse('admin:usage_ledgerentry_users')}?{span.query}"
        show_way(request, self._usage(), ("Costs of users", users), (user.email, ""))
        spent, links = spent_by(user, span), Links(request)
        whole = spent.total.cost_micros

        def ledger(**filters: object) -> str:
            return links.ledger(span.since, span.until, user=user.pk, **filters)

        on = {
            "headers": ["Purpose", "Model", *cost_headers()],
            "rows": [
                [
                    linked(ledger(purpose__exact=purpose, model=model), LedgerEntry.Purpose(purpose).label),
                    model,
                    *numbers(costs),
                    percent(costs.cost_micros, whole),
                ]
                for purpose, model, costs in spent.on
            ],
        }
        organizations = {
            "headers": ["Organization", *cost_headers()],
            "rows": [
                [linked(ledger(organization=key), name), *numbers(costs), percent(costs.cost_micros, whole)]
                for key, name, costs in spent.organizations
            ],
        }
        failures = {
            "headers": ["Status", "Reason", "Request", "Count", "Last"],
            "rows": [
                [
                    f"{each.status} {meaning(each.status)}",
                    in_words(each.reason),
                    f"{each.method} {route_in_words(each.route)}",
                    linked(
                        links.requests(
                            span.since,
                            span.until,
                            user=user.pk,
                            status=each.status,
                            reason=each.reason or UNKNOWN,
                            route=each.route,
                        ),
                        f"{each.times:,}",
                    ),
                    f"{each.last:%Y-%m-%d %H:%M:%S} UTC",
                ]
                for each in spent.failures
            ],
        }
        return self._render(
            request,
            "spender",
            title=f"Costs of {user.email}, {span}",
            user_shown=user,
            user_url=reverse("admin:accounts_user_change", args=[user.pk]) if may_see(request, "accounts.user") else "",
            rows=links_of_user(request, user)[1:],  # the first leads here
            spent=spent,
            numbers=numbers(spent.total),
            calls=amount(spent.total.calls, "call"),
            requests=amount(spent.requests, "request"),
            refused=refusal_links(spent.refusals, span, links, user.pk, in_full=True),
            times=amount(sum(count for _, count in spent.refusals), "time"),
            may_see_requests=links.may_see_requests,
            replies=[each for count in COUNTS_OF_USERS for each in count(request, user, span)],
            tables=[
                ("On what", on),
                ("For which organizations", organizations),
                *([("Failed requests", failures)] if links.may_see_requests else []),
            ],
            **span_context(span, fault),
        )

    @method_decorator(require_GET)
    def chart_csv(self, request: HttpRequest, slug: str) -> HttpResponseBase:
        """The figures of a chart of the dashboard."""
        self._require_ledger(request)
        links = Links(request)
        if slug in TRAFFIC and not links.may_see_traffic:
            raise PermissionDenied
        board = read_dashboard(span_of(request)[0], now=spans.now())
        for chart in charts_of(board, links):
            if chart.slug == slug:
                return csv_response(request, slug, chart.headers, lambda: iter([chart.csv_rows()]))  # noqa: B023
        raise Http404

    def _usage(self) -> tuple[str, str]:
        return "Usage", reverse("admin:app_list", args=["usage"])

    def _require_ledger(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _render(self, request: HttpRequest, template: str, **context: Any) -> HttpResponseBase:
        request.current_app = self.admin_site.name
        shown = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"usage/{template}.html", shown)


def _csv_row(each: Spender, links: Links) -> list[Any]:
    costs = each.costs
    email = "Deleted accounts" if each.user_id is None else each.email
    counts = [costs.calls, costs.input_tokens, costs.output_tokens, costs.unpriced_calls, exact(costs.cost_micros)]
    if not links.may_see_requests:
        return [each.user_id, email, *counts]
    reasons = ", ".join(f"{count} × {reason or UNKNOWN}" for reason, count in each.refusals)
    return [each.user_id, email, each.requests, each.refused, each.failed, *counts, reasons]


def meaning(status: int) -> str:
    """A status in words."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "The client was gone" if status == 499 else ""
