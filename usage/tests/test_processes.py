"""Which processes are alive, by their rows in PostgreSQL: in a separate database, where no web process judges."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from edgechat.stores import clock
from usage import processes
from usage.models import Process

LEASE = timedelta(seconds=processes.LEASE_SECONDS)


@pytest.fixture
def judge(module_stores: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of this process, which has just started."""
    monkeypatch.setattr(processes, "_name", "")
    monkeypatch.setattr(processes, "_connection", None)
    monkeypatch.setattr(processes, "_renewed_at", -LEASE.total_seconds())
    monkeypatch.setattr(clock, "_offset", None)
    yield processes.this_process()
    assert processes._connection is not None
    processes._connection.close()
    Process.objects.all().delete()


def move(name: str, by: timedelta) -> None:
    """Move a row in time, as if the process had renewed it that much earlier."""
    Process.objects.filter(name=name).update(alive_until=F("alive_until") - by)


def has_been_there_for(judge: str, time: timedelta) -> None:
    Process.objects.filter(name=judge).update(held_since=Now() - time)


def is_dead(name: str) -> bool:
    processes.judge_processes()
    return Process.objects.get(name=name).dead


def test_who_does_not_renew_its_row_for_a_lease_is_declared_dead(judge: str) -> None:
    Process.objects.create(name="other", alive_until=Now() + LEASE)
    has_been_there_for(judge, 2 * LEASE)
    assert not is_dead("other")
    move("other", LEASE)
    assert is_dead("other")
    assert processes.find_lost() == ["other"]
    processes.forget(["other"])
    assert processes.find_lost() == ["other"], "a write of it may be under way"
    move("other", timedelta(minutes=2))
    processes.forget(["other"])
    assert processes.find_lost() == []


def test_a_judge_that_has_just_come_may_not_judge(judge: str) -> None:
    Process.objects.create(name="other", alive_until=Now())
    assert not is_dead("other")
    has_been_there_for(judge, LEASE / 2)
    assert not is_dead("other")
    has_been_there_for(judge, 1.1 * LEASE)
    assert is_dead("other")


@pytest.mark.parametrize("gap", [0.6, 0.9, 1.1, 1000])
def test_after_an_outage_everybody_gets_a_whole_lease_again(judge: str, gap: float) -> None:
    """A judge that was late by half a lease itself knows that others may be late for the same reason."""
    Process.objects.create(name="other", alive_until=Now() + LEASE / 10)
    has_been_there_for(judge, timedelta(days=1))
    for name in (judge, "other"):
        move(name, gap * LEASE)
    assert not is_dead("other")
    processes.keep_alive()
    assert processes.this_process() == judge
    assert not is_dead("other")
    has_been_there_for(judge, 1.1 * LEASE)
    assert is_dead("other")


def test_an_operator_s_word_is_enough(judge: str) -> None:
    Process.objects.create(name="other", alive_until=Now())
    assert processes.find_lost() == []
    assert processes.find_lost(by_hand=True) == ["other"]


def test_who_was_declared_dead_goes_on_under_another_name(judge: str) -> None:
    Process.objects.filter(name=judge).update(dead=True)
    assert processes.this_process() == judge, "until it asks again"
    processes.keep_alive()
    again = processes.this_process()
    assert again != judge
    assert Process.objects.get(name=judge).dead
    assert not Process.objects.get(name=again).dead


def test_whose_row_was_lost_goes_on_under_another_name(judge: str) -> None:
    Process.objects.all().delete()
    processes.keep_alive()
    assert processes.this_process() != judge


def test_who_leaves_keeps_its_calls_and_gives_its_replies(judge: str) -> None:
    processes.leave()
    assert processes.find_lost() == [judge]
    processes.keep_alive()
    assert processes.this_process() == judge
    assert not is_dead(judge)


def test_an_unknown_process_can_be_declared_dead_and_a_known_one_cannot(judge: str) -> None:
    processes.declare_dead("unknown")
    processes.declare_dead(judge)
    assert processes.find_lost() == ["unknown"]


def test_with_each_renewal_a_process_learns_the_time(judge: str) -> None:
    machine = datetime.now().astimezone()
    clock._offset = (clock._offset or 0) + 180
    assert timezone.now() - machine > timedelta(seconds=179)
    processes.keep_alive()
    assert abs(timezone.now() - machine) < timedelta(seconds=60)


def test_a_time_that_may_be_right_is_left_alone() -> None:
    """Otherwise the time would jump back and forth by the duration of a query."""
    before = clock._offset
    told = timezone.now()
    try:
        clock.learn(told, sent_at=100, answered_at=100)
        exact = clock._offset
        clock.learn(told, sent_at=99, answered_at=102)
        assert clock._offset == exact
        clock.learn(told + timedelta(seconds=5), sent_at=99, answered_at=102)
        assert clock._offset == pytest.approx((exact or 0) + 3)
        clock.learn(told - timedelta(seconds=5), sent_at=99, answered_at=102)
        assert clock._offset == pytest.approx((exact or 0) - 4)
    finally:
        clock._offset = before
