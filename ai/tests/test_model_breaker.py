"""A model that fails again and again is left alone, and calls are answered at once meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import httpx2
import pytest

from ai.gemini.breaker import ACCOUNTS, PAUSE_SECONDS
from conftest import Person, at_once
from edgechat.local.web import WebServer
from edgechat.tests.web_settings import APART
from usage.models import LedgerEntry

FAILURES = 4
ModelCalls = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def carol(start_web: Callable[..., WebServer]) -> Iterator[Person]:
    """A user of a process with a breaker."""
    person = Person(start_web(MODEL_BREAKER_FAILURES=str(FAILURES), **APART).url, "carol")
    yield person
    person.close()


def ask(person: Person, prompt: str) -> httpx2.Response:
    return person.post("ai/complete", json={"prompt": prompt})


def is_refused_at_once(answer: httpx2.Response) -> bool:
    """Whether the breaker answered. The scripted model's own failures have no Retry-After."""
    return answer.status_code == 503 and "Retry-After" in answer.headers


def open_breaker(person: Person) -> None:
    for each in range(FAILURES):
        assert not is_refused_at_once(ask(person, f"[[status=503]] failure {each}"))


def test_after_failures_in_a_row_calls_are_refused_until_the_model_answers(
    carol: Person, model_calls: ModelCalls, eventually: Callable[..., Any]
) -> None:
    conversation = carol.new_conversation(title="Breaker")

    def refused() -> httpx2.Response | None:
        open_breaker(carol)
        answer = carol.say(conversation, f"kept {carol.id}")
        return answer if is_refused_at_once(answer) else None  # five seconds had passed: the model has answered

    answer = eventually(refused)
    assert 1 <= int(answer.headers["Retry-After"]) <= 5
    told = answer.json()
    assert told["code"] == "model_unavailable"
    question, reply = told["context"]["user_message"], told["context"]["model_message"]
    assert carol.messages(conversation, limit=2, latest="true")["messages"] == [question, reply]
    assert (question["content"], reply["status"]) == (f"kept {carol.id}", "failed")
    answered = carol.messages(conversation)["messages"]
    assert len(model_calls(f"kept {carol.id}")) == sum(each["status"] == "complete" for each in answered[1::2])
    assert not LedgerEntry.objects.filter(user_id=carol.id, settled_at=None).exists()

    eventually(lambda: ask(carol, "hello").status_code == 200)
    answers = at_once(8, lambda each: ask(carol, f"again {each}"))
    assert [each.status_code for each in answers] == [200] * 8


def test_while_the_model_fails_only_probes_reach_it(
    carol: Person, model_calls: ModelCalls, eventually: Callable[..., Any]
) -> None:
    open_breaker(carol)
    began = time.monotonic()
    asked = 0

    def probed() -> bool:
        nonlocal asked
        asked += 10
        at_once(10, lambda _: ask(carol, f"[[status=503]] probe-{carol.id}"))
        return len(model_calls(f"probe-{carol.id}")) > 0

    eventually(probed)
    assert len(model_calls(f"probe-{carol.id}")) <= (time.monotonic() - began) / PAUSE_SECONDS + 1 < asked


def test_two_accounts_end_no_call_of_another(carol: Person) -> None:
    """Their prompts may be the cause: a picture, for example, on which the model breaks."""
    with closing(Person(carol.origin, "dave")) as dave, closing(Person(carol.origin, "erin")) as erin:
        open_breaker(carol)
        open_breaker(dave)
        assert ask(erin, "hello").status_code == 200


def test_failures_of_several_accounts_end_the_calls_of_all_until_one_is_answered(
    carol: Person, eventually: Callable[..., Any]
) -> None:
    """Also if the others' calls fail for a reason of their own, and they call all the time."""
    with ExitStack() as people:
        dave, *others = (people.enter_context(closing(Person(carol.origin, "dave"))) for _ in range(ACCOUNTS))
        failing, answered = (carol, *others), threading.Event()

        def refused() -> bool:
            for each in 2 * failing:
                ask(each, "[[status=503]] failure")
            return is_refused_at_once(ask(dave, "hello"))

        def keep_failing(person: Person) -> None:
            while not answered.wait(0.1):
                ask(person, "[[status=503]] failure")

        def asked_in_time() -> bool:
            """As a client that waits for as long as it is told."""
            answer = ask(dave, "hello")
            time.sleep(int(answer.headers.get("Retry-After", 0)))
            return answer.status_code == 200

        eventually(refused)
        with ThreadPoolExecutor(len(failing)) as threads:
            tasks = [threads.submit(keep_failing, each) for each in failing]
            try:
                eventually(asked_in_time)
            finally:
                answered.set()
        for task in tasks:
            task.result()
        # The others' failures after the answer may have opened it again, until one of these is a probe.
        for each in failing:
            eventually(lambda: ask(each, "hello again").status_code == 200)  # noqa: B023


def test_answers_that_break_off_leave_the_breaker_closed(carol: Person) -> None:
    """One user can have as many answers at once as failures open it, and each may take longer than a call may."""
    prompt = "[[chunks=3]][[gap=2]][[cut=2]] long"
    answers = at_once(FAILURES + 1, lambda each: ask(carol, f"{prompt} {each}"))
    assert {each.status_code for each in answers} == {503}
    assert ask(carol, "hello after them").status_code == 200


def test_what_concerns_one_call_or_the_quota_leaves_the_breaker_closed(carol: Person) -> None:
    for reason in ("[[status=400]]", "[[status=429]]", "[[block=answer]]", "[[empty=1]][[finish=OTHER]]"):
        for each in range(FAILURES + 1):
            assert ask(carol, f"{reason} {each}").status_code != 200
        assert ask(carol, f"hello after {reason[2:-2]}").status_code == 200
    for each in range(2 * FAILURES):
        assert not is_refused_at_once(ask(carol, f"[[status=503]] {each}"))
        if each % 2:
            assert ask(carol, f"fine {each}").status_code == 200
