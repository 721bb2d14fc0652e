"""The admin's first page for users who may see the ledger: unfold's DASHBOARD_CALLBACK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from usage.ledger.queries import NearBudget
from usage.staff.queries import FRACTIONS, Costs, Dashboard, Day, read_dashboard

RANGES = (7, 30, 90)
USUAL_RANGE = 30

# Legible on light and on dark backgrounds; unfold's script resolves the variable.
FIRST, SECOND, THIRD, BAD = "var(--color-primary-600)", "#f59e0b", "#14b8a6", "#ef4444"
COLORS = (FIRST, SECOND, THIRD, "#3b82f6", "#ec4899", "#9ca3af")
TICKS = "#9ca3af"

Series = tuple[str, str, Sequence[float | None]]


def add_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The page's context with `dashboard`. A user who may not see the ledger gets the list of pages instead."""
    if not request.user.has_perm("usage.view_ledgerentry"):
        return context
    chosen = request.GET.get("days", "")
    days = int(chosen) if chosen in map(str, RANGES) else USUAL_RANGE
    board = read_dashboard(days=days)
    return {
        **context,
        "title": "Dashboard",
        "dashboard": {
            "template": "usage/dashboard.html",
            "days": days,
            "ranges": RANGES,
            "empty": not (board.requests or board.costs.calls or board.budgets),
            "cards": _cards(board),
            "charts": _charts(board),
            "by_model": _cost_table("Model", board.by_model),
            "by_organization": _cost_table("Organization", board.by_organization),
            "unpriced": _unpriced(board.costs.unpriced_calls),
            "budgets": [_budget_row(request, budget) for budget in board.budgets],
        },
    }


def money(micros: int) -> str:
    """Millionths as an exact decimal number of whole units."""
    return f"{micros // 10**6:,}.{micros % 10**6:06d}"


def exact(micros: int | None) -> str:
    """The same for other programs; empty without a price."""
    return "" if micros is None else f"{micros // 10**6}.{micros % 10**6:06d}"


def _cards(board: Dashboard) -> list[dict[str, str]]:
    today, costs = board.days[-1], board.costs
    return [
        {"title": "Requests", "value": f"{board.requests:,}", "note": f"{today.requests:,} today"},
        {"title": "Active users today", "value": f"{today.active_users:,}", "note": _most_active(board)},
        {
            "title": "Tokens",
            "value": f"{costs.input_tokens + costs.output_tokens:,}",
            "note": f"{costs.input_tokens:,} in, {costs.output_tokens:,} out",
        },
        {
            "title": f"Cost ({settings.PRICE_CURRENCY})",
            "value": money(costs.cost_micros),
            "note": f"{costs.calls:,} calls" + (f", {costs.unpriced_calls:,} unpriced" if costs.unpriced_calls else ""),
        },
        {
            "title": "Error rate",
            "value": _percent(board.client_errors + board.server_errors, board.requests),
            "note": f"{board.client_errors:,} by clients, {board.server_errors:,} by the server",
        },
        *(
            {"title": f"Latency, {_percentile_name(fraction)}", "value": _milliseconds(latency), "note": note}
            for fraction, latency, note in zip(
                FRACTIONS,
                board.latency,
                ("half of all requests within", "19 of 20 requests within", "99 of 100 requests within"),
                strict=True,
            )
        ),
    ]


def _charts(board: Dashboard) -> list[dict[str, Any]]:
    labels = [_date(day) for day in board.days]

    def bars(title: str, *series: tuple[str, str, str]) -> dict[str, Any]:
        """A chart of (name, color, attribute of a day)."""
        values: list[Series] = [
            (name, color, [attrgetter(attribute)(day) for day in board.days]) for name, color, attribute in series
        ]
        return _chart(title, "bar", labels, values)

    percentiles: list[Series] = [
        (_percentile_name(fraction), color, [day.latency[number] for day in board.days])
        for number, (fraction, color) in enumerate(zip(FRACTIONS, (THIRD, SECOND, BAD), strict=True))
    ]
    return [
        bars("Requests per day", ("Requests", FIRST, "requests")),
        bars("Tokens per day", ("Input", FIRST, "costs.input_tokens"), ("Output", SECOND, "costs.output_tokens")),
        bars("Active users per day", ("Users", THIRD, "active_users")),
        _chart(f"Cost per day ({settings.PRICE_CURRENCY})", "bar", labels, _cost_series(board)),
        bars(
            "Errors per day",
            ("Client errors (4xx)", SECOND, "client_errors"),
            ("Server errors (5xx)", BAD, "server_errors"),
        ),
        _chart("Latency per day (ms)", "line", labels, percentiles),
    ]


def _cost_series(board: Dashboard) -> list[Series]:
    """A series for each of the most expensive models, and one for all others."""
    names = [model for model, costs in board.by_model if model in board.models and costs.cost_micros][: len(COLORS) - 1]
    series: list[Series] = [
        (name, color, [day.cost_by_model.get(name, 0) / 10**6 for day in board.days])
        for name, color in zip(names, COLORS, strict=False)
    ]
    rest = [sum(cost for name, cost in day.cost_by_model.items() if name not in names) / 10**6 for day in board.days]
    return [*series, ("Others", COLORS[-1], rest)] if any(rest) else series


def _chart(title: str, kind: str, labels: list[str], series: list[Series]) -> dict[str, Any]:
    """The chart's data as JSON for unfold's script, and the legend, which the page renders itself."""
    lines = {"borderWidth": 2, "pointRadius": 2, "tension": 0.2} if kind == "line" else {"maxBarThickness": 24}
    datasets = [
        {"label": name, "data": values, "borderColor": color, "backgroundColor": color, **lines}
        for name, color, values in series
    ]
    ticks = {"color": TICKS, "maxRotation": 0, "autoSkipPadding": 16}
    stacked = kind == "bar"
    options = {
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
    return {
        "title": title,
        "kind": kind,
        "legend": [(name, color) for name, color, _ in series] if len(series) > 1 else [],
        "empty": not any(any(values) for _, _, values in series),
        "value": json.dumps({"labels": labels, "datasets": datasets}),
        "options": json.dumps(options),
    }


def _cost_table(first: str, found: list[tuple[str, Costs]]) -> dict[str, Any]:
    total = sum(costs.cost_micros for _, costs in found)
    return {
        "headers": [first, "Calls", "Input tokens", "Output tokens", f"Cost ({settings.PRICE_CURRENCY})", "Share"],
        "rows": [[name, *_numbers(costs), _percent(costs.cost_micros, total)] for name, costs in found],
    }


def _numbers(costs: Costs) -> list[str]:
    return [
        f"{costs.calls:,}" + (f" ({costs.unpriced_calls:,} unpriced)" if costs.unpriced_calls else ""),
        f"{costs.input_tokens:,}",
        f"{costs.output_tokens:,}",
        "-" if costs.calls == costs.unpriced_calls else money(costs.cost_micros),
    ]


def _unpriced(calls: int) -> str:
    if calls == 1:
        return "1 call had no price and is not in the costs"
    return f"{calls:,} calls had no price and are not in the costs" if calls else ""


def _budget_row(request: HttpRequest, budget: NearBudget) -> dict[str, Any]:
    may_see = any(request.user.has_perm(f"accounts.{action}_{budget.subject}") for action in ("view", "change"))
    return {
        "name": budget.name,
        "url": reverse(f"admin:accounts_{budget.subject}_change", args=[budget.subject_id]) if may_see else None,
        "subject": budget.subject,
        "period": budget.period,
        "used": f"{budget.used:,}",
        "limit": f"{budget.limit:,}",
        "percent": int(100 * budget.used / budget.limit),
        "spent": budget.used >= budget.limit,
    }


def _most_active(board: Dashboard) -> str:
    most = max(board.days, key=lambda day: day.active_users)
    return f"at most {most.active_users:,} on {_date(most)}" if most.active_users else "-"


def _date(day: Day) -> str:
    return f"{day.date:%b} {day.date.day}"


def _percentile_name(fraction: float) -> str:
    return f"p{fraction * 100:.0f}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:,.1f} s" if value >= 10_000 else f"{value:,.0f} ms"
