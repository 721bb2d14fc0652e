"""Machines with clocks that are minutes apart: every process uses PostgreSQL's time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import libfaketime  # type: ignore[import-untyped]
import pytest

from accounts.models import Session, User
from conftest import Api, Person, new_address
from conversations.tests.events import EVENT_STREAM, read_events
from edgechat.local.web import WebServer
from usage.models import LedgerEntry

pytestmark = pytest.mark.faults

LIBRARY = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
MINUTES = {"ahead": 3, "behind": -3}
NEAR = timedelta(minutes=1)

Webs = dict[str, WebServer]


@pytest.fixture
def webs(start_web: Callable[..., WebServer]) -> Webs:
    """A web process for each of MINUTES, whose clock is off by that many minutes."""
    servers = {
        name: start_web(
            LD_PRELOAD=str(LIBRARY), FAKETIME=f"{minutes:+}m", DONT_FAKE_MONOTONIC="1", AUTH_RATE_LIMIT="3/5m"
        )
        for name, minutes in MINUTES.items()
    }
    for name, web in servers.items():
        with Api(web.url) as api:
            told = parsedate_to_datetime(api.get("health").headers["Date"])
        assert abs(told - datetime.now(UTC) - timedelta(minutes=MINUTES[name])) < NEAR, "the machine's clock is not set"
    return servers


@pytest.fixture
def people(webs: Webs, register: Callable[..., Person]) -> dict[str, Person]:
    """One user at each web process."""
    return {name: register(name, web.url) for name, web in webs.items()}


def is_near(text: str) -> bool:
    return abs(datetime.fromisoformat(text) - datetime.now(UTC)) < NEAR


def begin(person: Person, conversation: str, words: int) -> str:
    """Start a reply that takes a tenth of a second for each word, and disconnect."""
    url = f"chat/conversations/{conversation}/messages"
    content = f"[[chunks={words}]][[gap=0.1]]" + "word " * words
    with person.stream("POST", url, json={"content": content}, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        mid: str = next(told for told in events if told.get("event") == "message")["data"]["model_message"]["id"]
        next(told for told in events if told.get("event") == "delta")
    return mid


def login_statuses(webs: Webs) -> list[int]:
    """The statuses of six incomplete logins from one address, at each web process in turn."""
    address = new_address()
    answers = []
    for _ in range(3):
        for web in webs.values():
            with Api(web.url) as api:
                answers.append(api.post("auth/login", headers=address))
    return [answer.status_code for answer in answers]


def test_clocks_of_machines_do_not_matter(
    webs: Webs, people: dict[str, Person], web_url: str, eventually: Callable[..., Any]
) -> None:
    assert login_statuses(webs) == [422] * 3 + [429] * 3
    urls = [web_url, *(web.url for web in webs.values())]
    for person in people.values():
        # A token from one process is valid, and can be exchanged, at every other process.
        tokens = person.tokens
        assert tokens["expires_in"] in range(880, 901)
        for url in urls:
            with Api(url, token=tokens["access_token"]) as there:
                assert there.get("auth/me").status_code == 200
                answer = there.post("auth/refresh", json={"refresh_token": tokens["refresh_token"]})
                assert answer.status_code == 200
                tokens = answer.json()
                assert tokens["expires_in"] in range(880, 901)
        # Every stored time is the same time, whichever library writes it.
        assert is_near(person.get("users/me").json()["created_at"])
        session = Session.objects.get(user_id=person.id)
        user = User.objects.get(pk=person.id)
        for moment in (session.created_at, session.last_used_at, user.created_at, user.updated_at):
            assert abs(moment - datetime.now(UTC)) < NEAR
        conversation = person.get(f"chat/conversations/{person.new_conversation(temporary=True)}").json()
        assert is_near(conversation["created_at"])
        assert is_near(person.post("todos", json={"title": "Buy bread"}).json()["created_at"])
    # A running process keeps its replies for longer than a lease lasts.
    running = {person: person.new_conversation() for person in people.values()}
    mids = {person: begin(person, conversation, 100) for person, conversation in running.items()}
    for person, conversation in running.items():
        eventually(lambda: person.messages(conversation)["messages"][1]["status"] == "complete")  # noqa: B023
        attempts = LedgerEntry.objects.filter(attempt_id__startswith=f"{mids[person]}:", purpose="chat")
        assert attempts.count() == 1
    # Another process takes over the replies of a killed one.
    person, web = people["ahead"], webs["ahead"]
    conversation = person.new_conversation()
    begin(person, conversation, 40)
    web.kill()
    with Api(web_url, token=person.tokens["access_token"]) as elsewhere:
        url = f"chat/conversations/{conversation}/messages"
        eventually(lambda: elsewhere.get(url, headers=new_address()).json()["messages"][1]["status"] == "complete")
