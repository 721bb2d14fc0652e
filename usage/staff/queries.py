"""The figures of the admin's first page, read from daily sums, so that their cost does not depend on the traffic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import zip_longest
from typing import NamedTuple

from django.db import connection
from django.db.models import Sum

from accounts.models import Organization
from usage.ledger.queries import NearBudget, near_budgets
from usage.ledger.statements import COSTS_OF_DAYS, PAID_MODEL
from usage.models import DailyTraffic, EarlyRefusal, RecorderPosition
from usage.reports.latency import percentile
from usage.requests.statements import BUCKET, TRAFFIC
from usage.staff.spans import Span

FRACTIONS = (0.5, 0.95, 0.99)
# The number of latest replies whose durations are shown.
REPLIES = 10_000
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
    """One day or one hour of a day, UTC.

    `latency`: the milliseconds within which each of FRACTIONS was answered; None without requests.
    """

    date: date
    hour: int | None = None
    requests: int = 0
    client_errors: int = 0
    server_errors: int = 0
    active_users: int = 0
    latency: Percentiles = (None,) * len(FRACTIONS)
    costs: Costs = field(default_factory=Costs)
    cost_by_model: dict[str, int] = field(default_factory=dict)

    @property
    def since(self) -> datetime:
        return datetime.combine(self.date, time(self.hour or 0), UTC)

    @property
    def until(self) -> datetime:
        return self.since + (timedelta(days=1) if self.hour is None else timedelta(hours=1))


@dataclass(frozen=True)
class Dashboard:
    """`by_model` and `by_organization`: the ROWS with the highest cost by name, and the sum of all others as the last.

    `days`: of a span of one day, its hours. `last`: the whole last day. `models`: the names in `by_model` that are
    models. `organizations`: the ids of the first of `by_organization`. `replies`: the milliseconds within which each of
    FRACTIONS of the latest replies was written, which are not in `latency`.
    """

    days: list[Day]
    last: Day
    latency: Percentiles
    costs: Costs
    models: list[str]
    by_model: list[tuple[str, Costs]]
    by_organization: list[tuple[str, Costs]]
    organizations: list[int | None]
    budgets: list[NearBudget]
    replies: Percentiles

    @property
    def requests(self) -> int:
        return sum(day.requests for day in self.days)

    @property
    def client_errors(self) -> int:
        return sum(day.client_errors for day in self.days)

    @property
    def server_errors(self) -> int:
        return sum(day.server_errors for day in self.days)


# The requests and the calls of one day by their hour.
_REQUESTS_OF_HOURS = f"""
    SELECT hour, active_users, requests, client_errors, server_errors, latencies
      FROM (SELECT date_part('hour', at AT TIME ZONE 'UTC')::int AS hour, count(DISTINCT user_id) AS active_users,
                   {TRAFFIC}
              FROM (SELECT user_id, at, status, {BUCKET} AS bucket FROM usage_requestrecord
                     WHERE at >= %(since)s AND at < %(until)s) AS requests
             GROUP BY 1) AS hours
"""  # noqa: S608  (constants)
_COSTS_OF_HOURS = f"""
    SELECT date_part('hour', settled_at AT TIME ZONE 'UTC')::int AS hour, {PAID_MODEL} AS model, count(*),
           count(*) - count(cost_micros), sum(input_tokens), sum(output_tokens), coalesce(sum(cost_micros), 0)
      FROM usage_ledgerentry
     WHERE settled_at >= %(since)s AND settled_at < %(until)s
     GROUP BY 1, 2
"""  # noqa: S608  (constants)
# Past days from their sums, and the days since `costs_from` call by call.
_COSTS = f"""
    WITH costs AS (
        SELECT date, model, organization_id, calls, unpriced_calls, input_tokens, output_tokens, cost_micros
          FROM usage_dailycost
         WHERE date >= %(first)s AND date < %(costs_from)s
         UNION ALL
        {COSTS_OF_DAYS}
    )
"""  # noqa: S608  (constants)


def read_dashboard(span: Span, *, now: datetime) -> Dashboard:
    """The figures of a span of days, the oldest day first; of a single day, the figures of its hours.

    The hours need the records of its requests: if these are deleted already, the day has no hours.
    """
    shown = {day: Day(day) for day in (span.first + timedelta(days=number) for number in range(span.days))}
    counts: list[int] = []
    for row in DailyTraffic.objects.filter(date__range=(span.first, span.last)):
        day = shown[row.date]
        day.requests, day.client_errors, day.server_errors = row.requests, row.client_errors, row.server_errors
        day.active_users, day.latency = row.active_users, _percentiles(row.latencies)
        counts = [sum(pair) for pair in zip_longest(counts, row.latencies, fillvalue=0)]

    by_model: list[tuple[str, Costs]] = []
    by_organization: list[tuple[int | None, Costs]] = []
    for each, model, organization_id, costs in _costs_of(span.first, span.last):
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
    days = list(shown.values())
    return Dashboard(
        days=_hours_of(span) if span.days == 1 and _has_requests_since(span.since) else days,
        last=days[-1],
        latency=_percentiles(counts),
        costs=_total(costs for _, costs in by_model),
        models=[model for model, _ in by_model[:ROWS]],
        by_model=_with_others(by_model),
        by_organization=_with_others(
            [(names.get(key, "Deleted organization"), costs) for key, costs in by_organization]
        ),
        organizations=[key for key, _ in by_organization[:ROWS]],
        budgets=near_budgets(now=now),
        replies=_reply_durations(span),
    )


def _hours_of(span: Span) -> list[Day]:
    hours = [Day(span.first, hour=number) for number in range(24)]
    with connection.cursor() as cursor:
        cursor.execute(_REQUESTS_OF_HOURS, {"since": span.since, "until": span.until})
        for number, active_users, requests, client_errors, server_errors, latencies in cursor.fetchall():
            hour = hours[number]
            hour.requests, hour.client_errors, hour.server_errors = requests, client_errors, server_errors
            hour.active_users, hour.latency = active_users, _percentiles(latencies)
        cursor.execute(_COSTS_OF_HOURS, {"since": span.since, "until": span.until})
        for number, model, *sums in cursor.fetchall():
            hour, costs = hours[number], Costs(*map(int, sums))
            hour.costs = _total([hour.costs, costs])
            hour.cost_by_model[model] = costs.cost_micros
    return hours


def _has_requests_since(moment: datetime) -> bool:
    raw_since = RecorderPosition.objects.filter(pk=1).values_list("raw_since", flat=True).first()
    return raw_since is None or raw_since <= moment


def _reply_durations(span: Span) -> Percentiles:
    """Of the latest REPLIES replies of a span, from the opening of their calls to the model to the settlement."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT percentile_disc(%(fractions)s::float8[]) WITHIN GROUP (ORDER BY duration)
              FROM (SELECT extract(epoch FROM settled_at - opened_at) * 1000 AS duration
                      FROM usage_ledgerentry
                     WHERE settled_at >= %(since)s AND settled_at < %(until)s AND purpose = 'chat'
                     ORDER BY settled_at DESC
                     LIMIT %(replies)s) AS latest
            """,
            {"fractions": list(FRACTIONS), "since": span.since, "until": span.until, "replies": REPLIES},
        )
        (found,) = cursor.fetchone()
    return (None,) * len(FRACTIONS) if found is None else tuple(map(float, found))


def early_refusals(span: Span) -> list[tuple[str, int]]:
    """(reason, number of requests), the most frequent first, of those that were refused before their user was checked.

    There are as many rows as there are reasons, which are few.
    """
    found = EarlyRefusal.objects.filter(hour__gte=span.since, hour__lt=span.until).order_by()
    sums = found.values("reason").annotate(sum=Sum("requests")).order_by("-sum", "reason")
    return [(row["reason"], row["sum"]) for row in sums]


def costs_until() -> date | None:
    """The first day whose costs are not summed up yet; None: no day is summed up."""
    return RecorderPosition.objects.filter(pk=1).values_list("costs_until", flat=True).first()


def _costs_of(first: date, last: date) -> list[tuple[date | None, str | None, int | None, Costs]]:
    """(day, model, None, costs), (day, None, None, costs), (None, model, None, costs), and, of organizations and of
    none, (None, None, id or None, costs), each kind with the highest cost first.

    Past days come from the daily sums. The end of the summed days is read first, and the sums are used only before it,
    so nothing is counted twice if more days are summed up meanwhile.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            {_COSTS}
            SELECT date, model, organization_id, sum(calls), sum(unpriced_calls), sum(input_tokens),
                   sum(output_tokens), sum(cost_micros)
              FROM costs
             GROUP BY GROUPING SETS ((date, model), (date), (model), (organization_id))
             ORDER BY sum(cost_micros) DESC, sum(input_tokens) + sum(output_tokens) DESC
            """,  # noqa: S608  (constants)
            _bounds(first, last),
        )
        rows = cursor.fetchall()
    return [(day, model, organization_id, Costs(*map(int, sums))) for day, model, organization_id, *sums in rows]


def cost_of(span: Span) -> int:
    """The cost of all calls of a span, in millionths."""
    with connection.cursor() as cursor:
        statement = f"{_COSTS} SELECT coalesce(sum(cost_micros), 0) FROM costs"  # noqa: S608  (constants)
        cursor.execute(statement, _bounds(span.first, span.last))
        return int(cursor.fetchone()[0])


def _bounds(first: date, last: date) -> dict[str, date]:
    end = last + timedelta(days=1)
    return {"first": first, "costs_from": min(max(first, costs_until() or first), end), "costs_until": end}


def _total(costs: Iterable[Costs]) -> Costs:
    return Costs(*map(sum, zip(*costs, strict=True)))


def _with_others(found: list[tuple[str, Costs]]) -> list[tuple[str, Costs]]:
    others = found[ROWS:]
    return [*found[:ROWS], *([(f"{len(others)} others", _total(costs for _, costs in others))] if others else [])]


def _percentiles(counts: Sequence[int]) -> Percentiles:
    return tuple(percentile(counts, fraction) for fraction in FRACTIONS)
