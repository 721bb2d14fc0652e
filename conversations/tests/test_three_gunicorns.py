"""Separate gunicorns on the same stores are one service: what one begins, another continues, ends and counts.

The third runs with another clock, as on another machine. Takeovers by another gunicorn are also in test_faults, clocks
in test_clocks, everything that ends with a session in test_revocation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Api, Person, at_once, new_address
from conversations.tests.events import EVENT_STREAM, read_events, text_of
from edgechat.local.web import WebServer
from edgechat.tests.test_clocks import LIBRARY
from usage.models import Budget, LedgerEntry

pytestmark = pytest.mark.faults

LIMITS = {"AUTH_RATE_LIMIT": "4/h", "MAX_REPLIES_PER_USER": "2"}
OTHER_CLOCK = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": "+3m", "DONT_FAKE_MONOTONIC": "1"}
LONG = "[[chunks=500]][[gap=0.2]]" + "word " * 500
SHORT = "[[chunks=40]][[gap=0.2]]" + "word " * 40


@pytest.fixture
def machines(web_with: Callable[..., str]) -> list[str]:
    """Three gunicorns, which share the stores and nothing else."""
    return [
        web_with(APP_NAME="First", **LIMITS),
        web_with(APP_NAME="Second", **LIMITS),
        web_with(APP_NAME="Third", **LIMITS, **OTHER_CLOCK),
    ]


class Running:
    """A reply that one gunicorn writes, and its sender's stream."""

    def __init__(self, person: Api, content: str) -> None:
        self.conversation = person.post("chat/conversations", json={"title": "Titled"}).json()["id"]
        self.path = f"chat/conversations/{self.conversation}/messages"
        self._stream = person.stream("POST", self.path, json={"content": content}, headers=EVENT_STREAM)
        self.events: Iterator[Any] = read_events(self._stream.__enter__().iter_lines())
        self.told = [next(self.events)]
        while self.told[-1].get("event") != "delta":
            self.told.append(next(self.events))
        opening = next(each for each in self.told if each.get("event") == "message")
        self.mid: str = opening["data"]["model_message"]["id"]

    def close(self) -> None:
        self._stream.__exit__(None, None, None)


@pytest.fixture
def people(machines: list[str], register: Callable[..., Person]) -> Iterator[list[Api]]:
    """One user's clients at each gunicorn."""
    first = register("alice", machines[0])
    others = [at(url, first) for url in machines[1:]]
    yield [first, *others]
    for other in others:
        other.close()


def at(url: str, person: Person) -> Api:
    """The same session's client at another gunicorn."""
    client = Api(url, token=person.tokens["access_token"])
    client.event_hooks = {"request": [lambda request: request.headers.update(new_address())]}
    return client


@pytest.mark.parametrize("other", [1, 2])
def test_a_reply_is_resumed_and_stopped_at_another(people: list[Api], other: int) -> None:
    running = Running(people[0], LONG)
    try:
        headers = {"Last-Event-ID": running.told[-1]["id"]}
        with people[other].stream("GET", f"{running.path}/{running.mid}/stream", headers=headers) as answer:
            followed = read_events(answer.iter_lines())
            events = [*running.told, *(next(followed) for _ in range(3))]
            final = people[other].post(f"{running.path}/{running.mid}/stop").json()
            events += followed
        assert final["status"] == "stopped"
        assert "restart" not in [each.get("event") for each in events]
        assert text_of(events) == final["content"]
        # Its sender, at the first one, is told of the same end.
        assert list(running.events)[-1]["data"] == final
    finally:
        running.close()


def test_limits_count_together(machines: list[str], people: list[Api]) -> None:
    address = new_address()
    statuses = []
    for url in machines * 2:
        with Api(url) as api:
            statuses.append(api.post("auth/login", headers=address).status_code)
    assert statuses == [422] * 4 + [429] * 2
    running = [Running(people[0], LONG), Running(people[1], LONG)]
    try:
        another = people[2].post("chat/conversations", json={}).json()["id"]
        assert people[2].post(f"chat/conversations/{another}/messages", json={"content": "Hi"}).status_code == 429
    finally:
        for each in running:
            assert people[2].post(f"{each.path}/{each.mid}/stop").status_code == 200
            list(each.events)
            each.close()


def test_a_budget_is_one_for_all(people: list[Api]) -> None:
    user_id = people[0].get("auth/me").json()["id"]
    Budget.objects.create(user_id=user_id, period="month", token_limit=1000)
    body = {"prompt": f"[[delay=0.3]][[length=400]]budget-{user_id}"}
    answers = at_once(30, lambda number: people[number % 3].post("ai/complete", json=body))
    assert {answer.status_code for answer in answers} == {200, 429}
    entries = LedgerEntry.objects.filter(user_id=user_id)
    assert entries.count() == [answer.status_code for answer in answers].count(200)
    assert sum(entry.input_tokens + entry.output_tokens for entry in entries) <= 1000


@pytest.mark.parametrize("other", [1, 2])
def test_a_session_that_ends_at_one_ends_at_all(people: list[Api], other: int) -> None:
    running = Running(people[0], LONG)
    try:
        assert people[other].post("auth/logout").status_code == 200
        assert list(running.events)[-1]["data"]["code"] == "token_revoked"
    finally:
        running.close()
    for each in people:
        assert each.get("users/me").status_code == 401


def test_a_killed_one_s_reply_is_taken_over_by_another(
    machines: list[str],
    start_web: Callable[..., WebServer],
    register: Callable[..., Person],
    eventually: Callable[..., Any],
) -> None:
    dying = start_web(workers=1)
    alice = register("alice", dying.url)
    running = Running(alice, SHORT)
    dying.kill()
    running.close()
    clients = [at(url, alice) for url in machines]
    eventually(lambda: clients[2].get(running.path).json()["messages"][1]["status"] == "complete")
    texts = {client.get(running.path).json()["messages"][1]["content"] for client in clients}
    assert len(texts) == 1
    for client in clients:
        client.close()
