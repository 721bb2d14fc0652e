"""Sums of past days, in a separate database."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from accounts.models import Organization
from usage.models import DailyCost, RecorderPosition
from usage.reports.services import sum_up_costs
from usage.tests.sums import at, costs_summed_until, settled

pytestmark = pytest.mark.usefixtures("module_stores")
FIRST = date(2130, 5, 1)
SECOND = FIRST + timedelta(days=1)


def _rows(**which: Any) -> list[tuple[Any, ...]]:
    columns = ("date", "model", "organization_id", "calls", "unpriced_calls", "input_tokens", "output_tokens")
    rows = DailyCost.objects.filter(**which).order_by("date", "model", "organization_id")
    return list(rows.values_list(*columns, "cost_micros"))


def test_a_day_is_summed_up_once_by_model_and_organization_ten_minutes_after_its_end() -> None:
    with costs_summed_until(FIRST):
        organization = Organization.objects.create(name="summed up")
        settled(at(FIRST, "00:00"), cost=5, input_tokens=100, output_tokens=10)
        settled(at(FIRST, "23:59:59"), cost=7, model="asked", answered_by="m", input_tokens=200, output_tokens=20)
        settled(at(FIRST), cost=None, model="unpriced", input_tokens=1, output_tokens=2)
        settled(at(FIRST), cost=11, organization=organization, input_tokens=3, output_tokens=4)
        settled(None, cost=None, input_tokens=1000)
        settled(at(SECOND, "00:00"), cost=13, input_tokens=5, output_tokens=6)
        first = [
            (FIRST, "m", organization.pk, 1, 0, 3, 4, 11),
            (FIRST, "m", None, 2, 0, 300, 30, 12),
            (FIRST, "unpriced", None, 1, 1, 1, 2, 0),
        ]

        assert sum_up_costs(now=at(SECOND, "00:09:59")) == 0
        assert sum_up_costs(now=at(SECOND, "00:10")) == 3
        assert sum_up_costs(now=at(SECOND, "00:10")) == 0
        assert _rows(date__gte=FIRST) == first
        assert RecorderPosition.objects.get(pk=1).costs_until == SECOND

        assert sum_up_costs(now=at(SECOND + timedelta(days=1))) == 1
        assert _rows(date__gte=FIRST) == [*first, (SECOND, "m", None, 1, 0, 5, 6, 13)]


def test_the_first_time_all_earlier_days_are_summed_up() -> None:
    with costs_summed_until(None):
        for days in (1, 400):
            settled(at(FIRST - timedelta(days=days)), cost=3, model="of long ago", input_tokens=2, output_tokens=1)
        sum_up_costs(now=at(FIRST))
        assert _rows(model="of long ago") == [
            (FIRST - timedelta(days=days), "of long ago", None, 1, 0, 2, 1, 3) for days in (400, 1)
        ]


def test_the_web_processes_sum_up_by_themselves() -> None:
    from edgechat.processes import periodic

    assert sum_up_costs in [task.function for task in periodic._tasks]
