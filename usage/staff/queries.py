"""The figures of the admin's first page, read from daily sums, so that their cost does not depend on the traffic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import zip_longest
from typing import NamedTuple

from django.db import connection
from django.utils import timezone

from accounts.models import Organization
from usage.ledger.queries import NearBudget, near_budgets
from usage.ledger.statements import COSTS_OF_DAYS
from usage.models import DailyTraffic, RecorderPosition
from usage.reports.latency import percentile

FRACTIONS = (0.5, 0.95, 0.99)
# The number of models and organizations listed by name; the others are summed up.
ROWS = 10

Percentiles = tuple[float | None, ...]


class Costs(NamedTuple):
    """Sums over settled calls; `unpriced_calls` are not in `cost_micros`, millionths of the prices' currency."""

    calls: int = 0
    unpriced_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0


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
class Dashboard:
    """`by_model` and `by_organization`: the ROWS with the highest cost by name, and the sum of all others as the last.

    `models`: the names in `by_model` that are models.
    """

    days: list[Day]
    latency: Percentiles
    costs: Costs
    models: list[str]
    by_model: list[tuple[str, Costs]]
    by_organization: list[tuple[str, Costs]]
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

    by_model: list[tuple[str, Costs]] = []
    by_organization: list[tuple[int | None, Costs]] = []
    for each, model, organization_id, costs in _costs_of(first, today):
        if each is not None and model is not None:
            shown[each].cost_by_model[model] = costs.cost_micros
        elif each is not None:
            shown[each].costs = costs
        elif model is not None:
            by_model.append((model, costs))
        else:
            by_organization.append((organization_id, costs))

    ids = [key for key, _ in by_organization[:ROWS] if key is not None]
    names: dict[int | None, str] = {None: "No organization"}
    names.update(Organization.objects.filter(pk__in=ids).values_list("pk", "name"))
    return Dashboard(
        days=list(shown.values()),
        latency=_percentiles(counts),
        costs=_total(costs for _, costs in by_model),
        models=[model for model, _ in by_model[:ROWS]],
        by_model=_with_others(by_model),
        by_organization=_with_others(
            [(names.get(key, "Deleted organization"), costs) for key, costs in by_organization]
        ),
        budgets=near_budgets(now=now),
    )


def costs_until() -> date | None:
    """The first day whose costs are not summed up yet; None: no day is summed up."""
    return RecorderPosition.objects.filter(pk=1).values_list("costs_until", flat=True).first()


def _costs_of(first: date, last: date) -> list[tuple[date | None, str | None, int | None, Costs]]:
    """(day, model, None, costs), (day, None, None, costs), (None, model, None, costs), and, of organizations and of
    none, (None, None, id or None, costs), each kind with the highest cost first.

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
                 WHERE date >= %(first)s AND date < %(costs_from)s
                 UNION ALL
                {COSTS_OF_DAYS}
            )
            SELECT date, model, organization_id, sum(calls), sum(unpriced_calls), sum(input_tokens),
                   sum(output_tokens), sum(cost_micros)
              FROM costs
             GROUP BY GROUPING SETS ((date, model), (date), (model), (organization_id))
             ORDER BY sum(cost_micros) DESC, sum(input_tokens) + sum(output_tokens) DESC
            """,  # noqa: S608  (constants)
            {"first": first, "costs_from": live, "costs_until": last + timedelta(days=1)},
        )
        rows = cursor.fetchall()
    return [(day, model, organization_id, Costs(*map(int, sums))) for day, model, organization_id, *sums in rows]


def _total(costs: Iterable[Costs]) -> Costs:
    return Costs(*map(sum, zip(*costs, strict=True)))


def _with_others(found: list[tuple[str, Costs]]) -> list[tuple[str, Costs]]:
    others = found[ROWS:]
    return [*found[:ROWS], *([(f"{len(others)} others", _total(costs for _, costs in others))] if others else [])]


def _percentiles(counts: Sequence[int]) -> Percentiles:
    return tuple(percentile(counts, fraction) for fraction in FRACTIONS)
