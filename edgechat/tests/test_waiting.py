"""Turns to work, and waits without a turn."""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from django.db import connection, transaction

from edgechat.errors import StoreUnavailable
from edgechat.processes import threads
from edgechat.processes.threads import start_thread, waiting, working, working_if_free
from edgechat.processes.turns import Turns
from edgechat.stores import mongo, store_time

PROJECT = Path(__file__).parents[2]
APPS = ("accounts", "ai", "conversations", "usage")
T = TypeVar("T")


def in_a_thread(function: Callable[[], T]) -> T:
    """Run in a thread, as a request does: each thread has its own turn."""
    made: list[T] = []
    thread = threading.Thread(target=lambda: made.append(function()))
    thread.start()
    thread.join()
    return made[0]


def in_a_request(function: Callable[[], T]) -> T:
    def run() -> T:
        threads.begin_work(patience=None)
        store_time.begin_request(waited=0)
        try:
            return function()
        finally:
            threads.end_work()
            store_time.end_request()
            connection.close()

    return in_a_thread(run)


@pytest.fixture
def one_turn(monkeypatch: pytest.MonkeyPatch) -> Turns:
    turns = Turns(1)
    monkeypatch.setattr(threads, "_turns", turns)
    monkeypatch.setattr(store_time, "_slow_at", float("-inf"))
    return turns


def is_free(turns: Turns) -> bool:
    if turns.take_free():
        turns.give_back()
        return True
    return False


def test_who_waits_has_neither_a_connection_nor_a_turn_and_takes_both_to_ask_again(
    one_turn: Turns,
) -> None:
    def request() -> list[bool]:
        connection.ensure_connection()
        seen = [is_free(one_turn)]
        with waiting():
            seen += [is_free(one_turn), connection.connection is None]
            with waiting():
                mongo.ping()
            seen.append(is_free(one_turn))
        seen.append(is_free(one_turn))
        mongo.ping()
        seen.append(is_free(one_turn))
        return seen

    assert in_a_request(request) == [False, True, True, True, True, False]
    assert is_free(one_turn)


def test_a_wait_that_is_no_fault_is_left_out_of_the_request_s_time_once(one_turn: Turns) -> None:
    def request() -> list[float | None]:
        seen = [store_time.deadline()]
        with waiting():
            seen.append(store_time.deadline())
            with waiting():
                mongo.ping()
        seen.append(store_time.deadline())
        with waiting(counted=True):
            seen.append(store_time.deadline())
        return [*seen, store_time.deadline()]

    began = time.monotonic()
    before, within, after, counted, last = in_a_request(request)
    assert within is None
    assert before is not None
    assert after is not None
    assert before < after <= before + time.monotonic() - began
    assert counted == last == after


def test_a_request_that_gets_no_turn_again_is_told_so_when_a_store_is_slow(
    one_turn: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def request() -> str:
        with waiting(patience=0.01):
            one_turn.take(None)
        monkeypatch.setattr(store_time, "_slow_at", time.monotonic())
        try:
            mongo.ping()
        except StoreUnavailable as error:
            return error.code
        finally:
            one_turn.give_back()
        return "asked"

    assert in_a_request(request) == "store_unavailable"


def test_a_request_waits_longer_for_its_turn_while_the_stores_answer(one_turn: Turns) -> None:
    one_turn.take(None)

    def work() -> None:
        one_turn.take(0.01)
        one_turn.give_back()

    queued = threading.Thread(target=work)
    queued.start()
    while not one_turn._queue:
        time.sleep(0.001)
    queued.join(0.1)  # longer than its patience
    assert queued.is_alive()
    one_turn.give_back()
    queued.join()
    assert is_free(one_turn)


def test_turns_come_in_the_order_of_the_queue(one_turn: Turns) -> None:
    one_turn.take(None)
    served: list[int] = []

    def work(number: int) -> None:
        one_turn.take(None)
        served.append(number)
        one_turn.give_back()

    queued = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for number, thread in enumerate(queued, start=1):
        thread.start()
        while len(one_turn._queue) < number:
            time.sleep(0.001)
    one_turn.give_back()
    for thread in queued:
        thread.join()
    assert served == list(range(20))


def test_a_thread_that_is_ended_as_its_turn_comes_loses_no_turn(
    one_turn: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_turn.take(None)

    me, wait = threading.current_thread(), threading.Event.wait

    def end_thread(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread() is not me:
            return wait(event, timeout)
        one_turn.give_back()
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(threading.Event, "wait", end_thread)
        with pytest.raises(SystemExit):
            one_turn.take(None)
    assert is_free(one_turn)


def test_a_process_is_busy_while_a_thread_waits_for_its_turn(
    one_turn: Turns, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    one_turn.take(None)
    assert not threads.is_busy()
    waits = threading.Thread(target=one_turn.take, args=(None,))
    waits.start()
    eventually(threads.is_busy)
    one_turn.give_back()
    waits.join()
    assert not threads.is_busy()
    one_turn.give_back()


def test_what_can_be_left_out_takes_no_turn_of_another(one_turn: Turns) -> None:
    def snapshot() -> list[bool]:
        with working_if_free() as free:
            return [free, is_free(one_turn)]

    assert in_a_thread(snapshot) == [True, False]
    one_turn.take(None)
    assert in_a_thread(snapshot) == [False, False]
    one_turn.give_back()
    assert is_free(one_turn)


def test_a_thread_that_has_no_turn_waits_without_one_and_works_in_one(one_turn: Turns) -> None:
    def work() -> list[bool]:
        with waiting():
            pass
        mongo.ping()
        seen = [is_free(one_turn)]
        with working():
            seen.append(is_free(one_turn))
        return [*seen, is_free(one_turn)]

    assert in_a_thread(work) == [True, False, True]


def test_nothing_is_waited_for_in_a_transaction() -> None:
    with transaction.atomic():
        with pytest.raises(RuntimeError), waiting():
            raise AssertionError("it waits")
        with pytest.raises(RuntimeError):
            threads.release_database()
        assert not connection.needs_rollback
        mongo.ping()  # a wait for a store is allowed here
        assert connection.connection is not None


def test_who_asks_mongodb_gives_the_connection_to_postgresql_back() -> None:
    connection.ensure_connection()
    mongo.ping()
    assert connection.connection is None


def test_only_this_package_gives_and_takes_turns() -> None:
    own = {"begin_work", "end_work", "release_database"}
    named = {
        f"{path.relative_to(PROJECT)}: {node.id if isinstance(node, ast.Name) else node.attr}"
        for app in APPS
        for path in (PROJECT / app).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Name) and node.id in own) or (isinstance(node, ast.Attribute) and node.attr in own)
    }
    assert named == set()


def test_a_thread_gives_its_connection_back_at_its_end() -> None:
    left: list[object] = []

    def work() -> None:
        connection.ensure_connection()
        left.append(connection.connection)

    start_thread(work).join()
    [used] = left
    assert used.closed  # type: ignore[attr-defined]
