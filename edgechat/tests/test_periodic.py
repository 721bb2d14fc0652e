"""A process's tasks continue, whatever one of their rounds does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from django.db import OperationalError

from edgechat.errors import StoreUnavailable
from edgechat.processes import periodic
from edgechat.processes.periodic import PeriodicTask

Eventually = Callable[[Callable[[], Any]], Any]


class Rounds:
    """A task's function whose first rounds raise the given exceptions."""

    def __init__(self, *raised: BaseException) -> None:
        self._raised = list(raised)
        self.count = 0
        self.__qualname__ = "rounds"

    def __call__(self) -> None:
        self.count += 1
        if self._raised:
            raise self._raised.pop(0)


@pytest.fixture(autouse=True)
def _stopped() -> Iterator[None]:
    yield
    periodic.stop()
    periodic._stopping = threading.Event()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad entry"),
        gevent.Timeout(1),
        StoreUnavailable(),
        OperationalError("gone"),
        BaseException("of its own kind"),
        RecursionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_round_that_raises_is_followed_by_the_next(error: BaseException, eventually: Eventually) -> None:
    rounds = Rounds(error)
    task = PeriodicTask(rounds, seconds=0.01)
    task.start()
    eventually(lambda: rounds.count > 2)
    assert task.is_well()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [SystemExit(), gevent.GreenletExit()], ids=lambda error: type(error).__name__)
def test_a_task_whose_thread_ends_is_not_well_and_is_begun_again(error: BaseException, eventually: Eventually) -> None:
    rounds = Rounds(error)
    task = PeriodicTask(rounds, seconds=0.01)
    task.start()
    eventually(lambda: task.fault() == "ended")
    assert not task.is_well()
    task.restart_if_needed()
    eventually(lambda: rounds.count > 2)
    assert task.fault() is None
    assert not task.is_well()  # reported for a while, for checks that run every few seconds
    eventually(task.is_well)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    "error", [SystemExit(), gevent.GreenletExit(), BaseException()], ids=lambda e: type(e).__name__
)
def test_who_looks_after_the_tasks_is_looked_after_by_them(
    monkeypatch: pytest.MonkeyPatch, eventually: Eventually, error: BaseException
) -> None:
    watched, rounds = Rounds(error), Rounds()

    def watch() -> None:
        watched()
        periodic._look_after()

    watcher = PeriodicTask(watch, 0.01)
    task = PeriodicTask(rounds, seconds=0.01)
    monkeypatch.setattr(periodic, "_started", threading.Event())
    monkeypatch.setattr(periodic, "_tasks", [task])
    monkeypatch.setattr(periodic, "_watcher", watcher)
    periodic.start()
    eventually(lambda: watched.count > 2)
    if isinstance(error, SystemExit | gevent.GreenletExit):
        assert periodic.unwell() == [watcher.name]
    eventually(lambda: periodic.unwell() == [])
    task._thread = None  # simulates a thread that has ended
    eventually(lambda: task.fault() is None)


def test_no_task_is_begun_again_while_the_process_ends(eventually: Eventually) -> None:
    task = PeriodicTask(Rounds(), seconds=0.01)
    task.start()
    periodic.stop()
    eventually(lambda: task.fault() == "ended")
    task.restart_if_needed()
    assert task.fault() == "ended"


def test_a_task_that_hangs_is_not_well_and_another_thread_takes_its_place(
    monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(periodic, "HANG_SECONDS", 0.2)
    released = threading.Event()
    calls: list[int] = []

    def hang() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            released.wait(60)

    task = PeriodicTask(hang, seconds=0.01)
    task.start()
    eventually(lambda: task.fault() == "hangs")
    assert not task.is_well()
    task.restart_if_needed()
    eventually(lambda: len(calls) > 3)
    released.set()
    eventually(lambda: task.fault() is None)
