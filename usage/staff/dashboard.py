"""The figures of the admin's first page, read from daily sums, so that their cost does not depend on the traffic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import zip_longest
from typing import Literal, TypeVar

from django.db import connection
from django.utils import timezone

from accounts.models import Organization
from usage.ledger.near_budgets import NearBudget, near_budgets
from usage.ledger.prices import PAID_MODEL
from usage.models import DailyTraffic, RecorderPosition
from usage.reports.latency import percentile

FRACTIONS = (0.5, 0.95, 0.99)
# The number of models and organizations listed by name; the others are summed up.
ROWS = 10

Percentiles = tuple[float | None, ...]
K = TypeVar("K")


@dataclass
class Costs:
    """Sums over settled calls; `unpriced_calls` are not in `cost_micros`, millionths of the prices' currency."""

    calls: int = 0
    unpriced_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0

    def add(self, other: Costs) -> None:
        self.calls += other.calls
        self.unpriced_calls += other.unpriced_calls
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost_micros += other.cost_micros


@dataclass
class Day:
    """One day, UTC. `latency`: the milliseconds within which each of FRACTIONS was answered; None without requests."""

    date: date
    requests: int = 0
    client_errors: int = 0
    server_errors: int = 0
    active_users: int = 0
    latency: Percentiles = (None,) * len(FRACTIONS)
    costs: Costs = field(default_factory=Costs)
    cost_by_model: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NamedCosts:
    """`kind`: `rest` sums up the items below the top ROWS, `none` the calls that no organization was charged for."""

    kind: Literal["model", "organization", "none", "rest"]
    name: str
    costs: Costs


@dataclass(frozen=True)
class Dashboard:
    days: list[Day]
    latency: Percentiles
    costs: Costs
    by_model: list[NamedCosts]
    by_organization: list[NamedCosts]
    budgets: list[NearBudget]

    @property
    def requests(self) -> int:
        return sum(day.requests for day in self.days)

    @property
    def client_errors(self) -> int:
        return sum(day.client_errors for day in self.days)

    @property
    def server_errors(self) -> int:
        return sum(day.server_errors for day in self.days)


def read_dashboard(*, days: int, now: datetime | None = None) -> Dashboard:
    """The figures of the last `days` days, including today, the oldest first."""
    now = now or timezone.now()
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=days - 1)
    shown = {day: Day(day) for day in (first + timedelta(days=number) for number in range(days))}

    counts: list[int] = []
    for row in DailyTraffic.objects.filter(date__range=(first, today)):
        day = shown[row.date]
        day.requests, day.client_errors, day.server_errors = row.requests, row.client_errors, row.server_errors
        day.active_users, day.latency = row.active_users, _percentiles(row.latencies)
        counts = [sum(pair) for pair in zip_longest(counts, row.latencies, fillvalue=0)]

    total, by_model, by_organization = Costs(), defaultdict[str, Costs](Costs), defaultdict[int | None, Costs](Costs)
    for each, model, organization_id, costs in _costs_since(first):
        if each is None:
            by_organization[organization_id].add(costs)
        elif each in shown:  # excludes tomorrow's calls, settled by a clock that is ahead
            shown[each].costs.add(costs)
            shown[each].cost_by_model[model] = costs.cost_micros
            by_model[model].add(costs)
            total.add(costs)

    return Dashboard(
        days=list(shown.values()),
        latency=_percentiles(counts),
        costs=total,
        by_model=_models(by_model),
        by_organization=_organizations(by_organization),
        budgets=near_budgets(now=now),
    )


def costs_until() -> date | None:
    """The first day whose costs are not summed up yet; None: no day is summed up."""
    return RecorderPosition.objects.filter(pk=1).values_list("costs_until", flat=True).first()


def _costs_since(first: date) -> Iterator[tuple[date | None, str, int | None, Costs]]:
    """(day, model, None, costs) of each day and model; (None, "", id or None, costs) of each organization and of none.

    Past days come from the daily sums. The end of the summed days is read first, and the sums are used only before it,
    so nothing is counted twice if more days are summed up meanwhile.
    """
    live = max(first, costs_until() or first)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH costs AS (
                SELECT date, model, organization_id, calls, unpriced_calls, input_tokens, output_tokens, cost_micros
                  FROM usage_dailycost
                 WHERE date >= %(first)s AND date < %(live)s
                 UNION ALL
                SELECT (settled_at AT TIME ZONE 'UTC')::date, {PAID_MODEL}, organization_id, 1,
                       (cost_micros IS NULL)::int, input_tokens, output_tokens, coalesce(cost_micros, 0)
                  FROM usage_ledgerentry
                 WHERE settled_at >= %(live_from)s
            )
            SELECT date, coalesce(model, ''), organization_id, sum(calls), sum(unpriced_calls),
                   sum(input_tokens), sum(output_tokens), sum(cost_micros)
              FROM costs
             GROUP BY GROUPING SETS ((date, model), (organization_id))
            """,  # noqa: S608  (constants)
            {"first": first, "live": live, "live_from": datetime.combine(live, time(), UTC)},
        )
        rows = cursor.fetchall()
    for day, model, organization_id, *sums in rows:
        yield day, model, organization_id, Costs(*(int(value) for value in sums))


def _models(found: dict[str, Costs]) -> list[NamedCosts]:
    named, rest = _most(found)
    return [*(NamedCosts("model", name, costs) for name, costs in named), *rest]


def _organizations(found: dict[int | None, Costs]) -> list[NamedCosts]:
    named, rest = _most(found)
    names = dict(Organization.objects.filter(pk__in=[key for key, _ in named if key]).values_list("pk", "name"))
    return [
        *(
            NamedCosts("none", "No organization", costs)
            if key is None
            else NamedCosts("organization", names.get(key, "Deleted organization"), costs)
            for key, costs in named
        ),
        *rest,
    ]


def _most(found: dict[K, Costs]) -> tuple[list[tuple[K, Costs]], list[NamedCosts]]:
    """The ROWS with the highest cost, and the sum of all others, if there are any."""
    ordered = sorted(
        found.items(), key=lambda item: (-item[1].cost_micros, -item[1].input_tokens - item[1].output_tokens)
    )
    rest = Costs()
    for _, costs in ordered[ROWS:]:
        rest.add(costs)
    others = len(ordered) - ROWS
    return ordered[:ROWS], [NamedCosts("rest", f"{others} others", rest)] if others > 0 else []


def _percentiles(counts: Sequence[int]) -> Percentiles:
    return tuple(percentile(counts, fraction) for fraction in FRACTIONS)
