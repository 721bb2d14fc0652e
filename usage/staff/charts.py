"""The dashboard's charts, as data for unfold's script, as tables with links to the rows behind each figure, and as CSV
files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from accounts.staff.rights import may_see
from usage.staff.queries import FRACTIONS, Dashboard, Day
from usage.staff.spans import Span

# Legible on light and on dark backgrounds. Numbers instead of the theme's variables, which are in a form from which
# Chart.js cannot calculate the color of a bar under the pointer: it would disappear.
FIRST, SECOND, THIRD, BAD = "#9333ea", "#f59e0b", "#14b8a6", "#ef4444"
COLORS = (FIRST, SECOND, THIRD, "#3b82f6", "#ec4899", "#9ca3af")
TICKS = "#9ca3af"

Value = int | float | None


class Links:
    """The addresses of lists with the rows behind figures; None for lists that the requesting user may not see."""

    def __init__(self, request: HttpRequest) -> None:
        self.may_see_requests = may_see(request, "usage.requestrecord")
        # The sums of all users' requests are rows of their own.
        self.may_see_traffic = self.may_see_requests or may_see(request, "usage.dailytraffic")

    def requests(self, since: datetime, until: datetime, **filters: object) -> str | None:
        if not self.may_see_requests:
            return None
        return _list("usage_requestrecord_changelist", {"at__gte": since, "at__lt": until, **filters})

    def early_refusals(self, since: datetime, until: datetime, **filters: object) -> str | None:
        """Of the hours of these days."""
        if not self.may_see_requests:
            return None
        return _list("usage_earlyrefusal_changelist", {"hour__gte": since, "hour__lt": until, **filters})

    def ledger(self, since: datetime, until: datetime, **filters: object) -> str:
        return _list("usage_ledgerentry_changelist", {"settled_at__gte": since, "settled_at__lt": until, **filters})

    def users(self, span: Span) -> str:
        return f"{reverse('admin:usage_ledgerentry_users')}?{span.query}"

    def user(self, user_id: int, span: Span) -> str:
        return f"{reverse('admin:usage_ledgerentry_user', args=[user_id])}?{span.query}"


def _list(name: str, filters: dict[str, object]) -> str:
    return f"{reverse(f'admin:{name}')}?{urlencode({key: str(value) for key, value in filters.items()})}"


def linked(url: str | None, text: object) -> str:
    """The text, as a link if there is an address."""
    return str(text) if url is None else format_html('<a class="text-link" href="{}">{}</a>', url, text)


@dataclass(frozen=True)
class Series:
    """`rows(day, value)` is the address of the rows behind the value of a day."""

    name: str
    color: str
    values: Sequence[Value]
    rows: Callable[[Day, Value], str | None]


@dataclass(frozen=True)
class Chart:
    """`slug` names the CSV file; `days` are days or hours."""

    slug: str
    title: str
    kind: str
    days: Sequence[Day]
    series: Sequence[Series]

    @property
    def is_empty(self) -> bool:
        return not any(any(series.values) for series in self.series)

    @property
    def headers(self) -> list[str]:
        return ["Day" if self.days[0].hour is None else "Hour", *(series.name for series in self.series)]

    def csv_rows(self) -> Iterable[list[object]]:
        for number, day in enumerate(self.days):
            first: date | datetime = day.date if day.hour is None else day.since
            yield [first, *(_exact(series.values[number]) for series in self.series)]

    def context(self, span: Span) -> dict[str, Any]:
        """What the page's template needs."""
        links = [
            [series.rows(day, value) if value else None for day, value in zip(self.days, series.values, strict=True)]
            for series in self.series
        ]
        lines = list(enumerate(self.series))
        rows = [
            [label(day), *(linked(links[row][column], _shown(series.values[column])) for row, series in lines)]
            for column, day in enumerate(self.days)
        ]
        return {
            "title": self.title,
            "kind": self.kind,
            "legend": [(series.name, series.color) for series in self.series] if len(self.series) > 1 else [],
            "empty": self.is_empty,
            "value": json.dumps({"labels": [label(day) for day in self.days], "datasets": self._datasets()}),
            "options": json.dumps(_options(stacked=self.kind == "bar")),
            "table": {"headers": self.headers, "rows": rows},
            "csv": f"{reverse('admin:usage_ledgerentry_chart', args=[self.slug])}?{span.query}",
        }

    def _datasets(self) -> list[dict[str, Any]]:
        line = {"borderWidth": 2, "pointRadius": 2, "tension": 0.2}
        look = line if self.kind == "line" else {"maxBarThickness": 24}
        return [
            {
                "label": series.name,
                "data": series.values,
                "borderColor": series.color,
                "backgroundColor": series.color,
                "hoverBackgroundColor": series.color,
                **look,
            }
            for series in self.series
        ]


TRAFFIC = ("requests", "users", "errors", "latency")


def charts_of(board: Dashboard, links: Links) -> list[Chart]:
    """The charts that the requesting user may see; TRAFFIC are of requests, the others of the ledger."""
    return [chart for chart in _charts_of(board, links) if links.may_see_traffic or chart.slug not in TRAFFIC]


def _charts_of(board: Dashboard, links: Links) -> list[Chart]:
    unit = "day" if board.days[0].hour is None else "hour"

    def chart(slug: str, title: str, *series: Series, kind: str = "bar") -> Chart:
        return Chart(slug, title, kind, board.days, series)

    def series(name: str, color: str, attribute: str, rows: Callable[[Day, Value], str | None]) -> Series:
        return Series(name, color, [attrgetter(attribute)(day) for day in board.days], rows)

    def requests(**filters: object) -> Callable[[Day, Value], str | None]:
        return lambda day, _: links.requests(day.since, day.until, **filters)

    def ledger(day: Day, _: Value) -> str:
        return links.ledger(day.since, day.until)

    def users(day: Day, _: Value) -> str | None:
        return links.users(Span(day.date, day.date)) if day.hour is None else links.requests(day.since, day.until)

    def slower(day: Day, value: Value) -> str | None:
        return None if value is None else links.requests(day.since, day.until, slower=int(value))

    percentiles = [
        Series(percentile_name(fraction), color, [day.latency[number] for day in board.days], slower)
        for number, (fraction, color) in enumerate(zip(FRACTIONS, (THIRD, SECOND, BAD), strict=True))
    ]
    return [
        chart("requests", f"Requests per {unit}", series("Requests", FIRST, "requests", requests())),
        chart(
            "tokens",
            f"Tokens per {unit}",
            series("Input", FIRST, "costs.input_tokens", ledger),
            series("Output", SECOND, "costs.output_tokens", ledger),
        ),
        chart("users", f"Active users per {unit}", series("Users", THIRD, "active_users", users)),
        chart("cost", f"Cost per {unit} ({settings.PRICE_CURRENCY})", *_cost_series(board, links)),
        chart(
            "errors",
            f"Errors per {unit}",
            series("Client errors (4xx)", SECOND, "client_errors", requests(status="4xx")),
            series("Server errors (5xx)", BAD, "server_errors", requests(status="5xx")),
        ),
        chart("latency", f"Latency per {unit} (ms)", *percentiles, kind="line"),
    ]


def _cost_series(board: Dashboard, links: Links) -> list[Series]:
    """A series for each of the most expensive models, and one for all others."""
    names = [model for model, costs in board.by_model if model in board.models and costs.cost_micros][: len(COLORS) - 1]

    def of_model(name: str) -> Callable[[Day, Value], str | None]:
        return lambda day, _: links.ledger(day.since, day.until, model=name)

    series = [
        Series(name, color, [day.cost_by_model.get(name, 0) / 10**6 for day in board.days], of_model(name))
        for name, color in zip(names, COLORS, strict=False)
    ]
    rest = [sum(cost for name, cost in day.cost_by_model.items() if name not in names) / 10**6 for day in board.days]
    others = Series("Others", COLORS[-1], rest, lambda day, _: links.ledger(day.since, day.until))
    return [*series, others] if any(rest) else series


def _options(*, stacked: bool) -> dict[str, Any]:
    ticks = {"color": TICKS, "maxRotation": 0, "autoSkipPadding": 16}
    return {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {"legend": {"display": False}},
        "scales": {
            "x": {"stacked": stacked, "ticks": ticks, "grid": {"display": False}},
            "y": {
                "stacked": stacked,
                "beginAtZero": True,
                "border": {"display": False},
                "ticks": {**ticks, "maxTicksLimit": 6, "format": {"notation": "compact"}},
                "grid": {},
            },
        },
    }


def label(day: Day) -> str:
    return f"{day.date:%b} {day.date.day}" if day.hour is None else f"{day.hour}:00"


def percentile_name(fraction: float) -> str:
    return f"p{fraction * 100:.0f}"


def _shown(value: Value) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,.6f}".rstrip("0").rstrip(".")
    return f"{value:,}"


def _exact(value: Value) -> object:
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
