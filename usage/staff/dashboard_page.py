"""The admin's first page for users who may see the ledger: unfold's DASHBOARD_CALLBACK."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from accounts.staff.rights import may_see
from usage.ledger.queries import NearBudget
from usage.staff import spans
from usage.staff.charts import Links, charts_of, label, linked, percentile_name
from usage.staff.queries import FRACTIONS, ROWS, Costs, Dashboard, early_refusals, read_dashboard
from usage.staff.reasons import EARLY, UNKNOWN, code_of, in_words
from usage.staff.spans import Span, span_of
from usage.staff.spenders import Spender, spenders

# The first page must be fast: longer spans have a page of their own.
MAX_DAYS_OF_USERS = 31


def add_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The page's context with `dashboard`. A user who may not see the ledger gets the list of pages instead."""
    if not request.user.has_perm("usage.view_ledgerentry"):
        return context
    span, fault = span_of(request)
    board, links = read_dashboard(span, now=spans.now()), Links(request)
    early = _early_table(span, links) if links.may_see_requests else None
    models = [links.ledger(span.since, span.until, model=model) for model in board.models]
    organizations = [
        None if key is None else links.ledger(span.since, span.until, organization=key) for key in board.organizations
    ]
    return {
        **context,
        "title": "Dashboard",
        "dashboard": {
            "template": "usage/dashboard.html",
            **span_context(span, fault),
            "empty": not (board.requests or board.costs.calls or board.budgets or (early and early["rows"])),
            "cards": [
                *(_traffic_cards(board, span, links) if links.may_see_traffic else []),
                *_cost_cards(board, span, links),
            ],
            "charts": [chart.context(span) for chart in charts_of(board, links)],
            "by_user": users_table(spenders(span, rows=ROWS), span, links, board.costs.cost_micros)
            if span.days <= MAX_DAYS_OF_USERS
            else None,
            "all_users": links.users(span),
            "by_model": _cost_table("Model", board.by_model, models),
            "by_organization": _cost_table("Organization", board.by_organization, organizations),
            "early": early,
            "unpriced": _unpriced(board.costs.unpriced_calls),
            "budgets": [_budget_row(request, budget) for budget in board.budgets]
            if may_see(request, "usage.budget")
            else None,
        },
    }


def span_context(span: Span, fault: str) -> dict[str, Any]:
    """What the form for the days of a page needs."""
    return {"span": span, "fault": fault, "spans": spans.named_spans(), "today": spans.today()}


def money(micros: int) -> str:
    """Millionths as an exact decimal number of whole units."""
    return f"{micros // 10**6:,}.{micros % 10**6:06d}"


def exact(micros: int | None) -> str:
    """The same for other programs; empty without a price."""
    return "" if micros is None else f"{micros // 10**6}.{micros % 10**6:06d}"


def _traffic_cards(board: Dashboard, span: Span, links: Links) -> list[dict[str, str | None]]:
    last = board.last
    when = "today" if last.date == spans.today() else f"on {last.date:%b} {last.date.day}"
    requests = links.requests(span.since, span.until)
    return [
        {"title": "Requests", "value": f"{board.requests:,}", "note": f"{last.requests:,} {when}", "url": requests},
        {
            "title": f"Active users {when}",
            "value": f"{last.active_users:,}",
            "note": _most_active(board),
            "url": links.users(Span(last.date, last.date)),
        },
        {
            "title": "Error rate",
            "value": percent(board.client_errors + board.server_errors, board.requests),
            "note": f"{board.client_errors:,} by clients, {board.server_errors:,} by the server",
            "url": links.requests(span.since, span.until, status="failed"),
        },
        *(
            {
                "title": f"Latency, {percentile_name(fraction)}",
                "value": _milliseconds(latency),
                "note": note,
                "url": None if latency is None else links.requests(span.since, span.until, slower=int(latency)),
            }
            for fraction, latency, note in zip(
                FRACTIONS,
                board.latency,
                ("half of all requests within", "19 of 20 requests within", "99 of 100 requests within"),
                strict=True,
            )
        ),
    ]


def _cost_cards(board: Dashboard, span: Span, links: Links) -> list[dict[str, str | None]]:
    costs, ledger = board.costs, links.ledger(span.since, span.until)
    return [
        {
            "title": f"Cost ({settings.PRICE_CURRENCY})",
            "value": money(costs.cost_micros),
            "note": amount(costs.calls, "call")
            + (f", {costs.unpriced_calls:,} unpriced" if costs.unpriced_calls else ""),
            "url": links.users(span),
        },
        {
            "title": "Tokens",
            "value": f"{costs.input_tokens + costs.output_tokens:,}",
            "note": f"{costs.input_tokens:,} in, {costs.output_tokens:,} out",
            "url": ledger,
        },
        *(
            {
                "title": f"Replies, {percentile_name(fraction)}",
                "value": _milliseconds(duration),
                "note": note,
                "url": None if duration is None else ledger,
            }
            for fraction, duration, note in zip(
                FRACTIONS,
                board.replies,
                ("half of the latest written within", "19 of 20 written within", "99 of 100 written within"),
                strict=True,
            )
        ),
    ]


LINE = mark_safe("<br>")  # nosec B308
COUNTED = ["Calls", "Input tokens", "Output tokens"]


def user_headers(links: Links) -> list[str]:
    return ["User", *(["Requests", "Refused", "Failed"] if links.may_see_requests else []), *COUNTED]


def users_table(found: list[Spender], span: Span, links: Links, total_micros: int) -> dict[str, Any]:
    """The costs of users, with links to each user's own page and to their refused and failed requests.

    Requests are counted only for those who may see them.
    """

    def failures(spender: Spender, count: int, status: str) -> str:
        key = spender.user_id
        url = links.requests(span.since, span.until, user=key, status=status) if key and count else None
        return linked(url, f"{count:,}")

    def refused(spender: Spender) -> str:
        if not spender.refusals:
            return "0"
        if any(reason in EARLY for reason, _ in spender.refusals):
            whole = f"{spender.refused:,}"  # its rows are in two lists
        else:
            whole = failures(spender, spender.refused, "refused")
        reasons = refusal_links(refusals_by_code(spender.refusals), span, links, spender.user_id or 0, between=LINE)
        return format_html('<div>{}<div class="refusals">{}</div></div>', whole, reasons)

    return {
        "headers": [*user_headers(links), f"Cost ({settings.PRICE_CURRENCY})", "Share"],
        "rows": [
            [
                "Deleted accounts" if each.user_id is None else linked(links.user(each.user_id, span), each.email),
                *(
                    [f"{each.requests:,}", refused(each), failures(each, each.failed, "failed")]
                    if links.may_see_requests
                    else []
                ),
                *numbers(each.costs),
                percent(each.costs.cost_micros, total_micros),
            ]
            for each in found
        ],
    }


def refusals_by_code(refusals: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The same numbers by code, without the limits, except those of EARLY, which have a list of their own."""
    found: Counter[str] = Counter()
    for reason, count in refusals:
        found[reason if reason in EARLY else code_of(reason)] += count
    return found.most_common()


def refusal_links(
    refusals: list[tuple[str, int]],
    span: Span,
    links: Links,
    user_id: int,
    *,
    in_full: bool = False,
    between: str = ", ",
) -> str:
    """How often there was each reason, as links to the requests: `9 x budget_exceeded, 3 x rate_limited`.

    `in_full`: with the reason in words.
    """

    def one(reason: str, count: int) -> str:
        words = f" ({in_words(reason)})" if in_full else ""
        if reason in EARLY:
            url = links.early_refusals(span.since, span.until, user=user_id, reason=reason)
        else:
            url = links.requests(span.since, span.until, user=user_id, status="refused", reason=reason or UNKNOWN)
        name = code_of(reason) if in_full or reason not in EARLY else reason
        return linked(url, f"{count:,} × {name or 'without a code'}{words}")

    return format_html_join(between, "{}", ((one(reason, count),) for reason, count in refusals))


def _early_table(span: Span, links: Links) -> dict[str, Any]:
    """How many requests were refused before their user was checked, by reason, with links to their sums by hour."""
    found = early_refusals(span)
    total = sum(count for _, count in found)
    return {
        "total": total,
        "url": links.early_refusals(span.since, span.until),
        "headers": ["Reason", "Requests", "Share"],
        "rows": [
            [
                in_words(reason),
                linked(links.early_refusals(span.since, span.until, reason=reason), f"{count:,}"),
                percent(count, total),
            ]
            for reason, count in found
        ],
    }


def _cost_table(first: str, found: list[tuple[str, Costs]], urls: list[Any]) -> dict[str, Any]:
    """`urls` are of the first rows."""
    total = sum(costs.cost_micros for _, costs in found)
    return {
        "headers": [first, *cost_headers()],
        "rows": [
            [linked(url, name), *numbers(costs), percent(costs.cost_micros, total)]
            for (name, costs), url in zip_longest(found, urls)
        ],
    }


def cost_headers() -> list[str]:
    return [*COUNTED, f"Cost ({settings.PRICE_CURRENCY})", "Share"]


def numbers(costs: Costs) -> list[str]:
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
    url = reverse(f"admin:accounts_{budget.subject}_change", args=[budget.subject_id])
    return {
        "name": budget.name,
        "url": url if may_see(request, f"accounts.{budget.subject}") else None,
        "subject": budget.subject,
        "period": budget.period,
        "used": f"{budget.used:,}",
        "limit": f"{budget.limit:,}",
        "percent": int(100 * budget.used / budget.limit),
        "spent": budget.used >= budget.limit,
    }


def _most_active(board: Dashboard) -> str:
    most = max(board.days, key=lambda day: day.active_users)
    return (
        f"at most {most.active_users:,} {'on' if most.hour is None else 'at'} {label(most)}"
        if most.active_users
        else "-"
    )


def amount(number: int, one: str) -> str:
    """For example `1 call` or `1,200 calls`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}\N{NO-BREAK SPACE}%" if whole else "-"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:,.1f} s" if value >= 10_000 else f"{value:,.0f} ms"
