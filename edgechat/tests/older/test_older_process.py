"""An earlier version serves beside this one, on stores that this one has migrated, as during an upgrade.

`make older-test` installs the earlier version first: the last release, or OLDER=<commit>.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from conftest import Api, Person, at_once, new_address
from conversations.tests.events import read_events, text_of
from conversations.tests.exports import chatgpt, finished, listed, send_import
from conversations.tests.test_attachments import picture, upload
from conversations.tests.test_three_gunicorns import LONG, SHORT, Running
from edgechat.local.older import PYTHON, SOURCE
from edgechat.local.web import WebServer
from edgechat.tests.own_stores import OwnStores
from usage.models import Budget, LedgerEntry

Eventually = Callable[..., Any]
BOTH_WAYS = pytest.mark.parametrize(("first", "second"), [("older", "newer"), ("newer", "older")])
# More than any other test of this file needs; each request of a person has its own address.
LIMITS = {"AUTH_RATE_LIMIT": "4/h", "MAX_REPLIES_PER_USER": "2"}


class OlderApi(Api):
    """A client of the earlier version, whose answers need not be in this version's OpenAPI file."""

    def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        return httpx2.Client.send(self, request, **kwargs)


@dataclass
class Upgrade:
    """Both versions, each one process, on stores that nobody else uses."""

    older: WebServer
    newer: WebServer

    def __getitem__(self, name: str) -> WebServer:
        web: WebServer = getattr(self, name)
        web.start()  # a test may have killed it
        return web

    def at(self, name: str, person: Person) -> Any:
        """A client of the same session at one of the two."""
        client = (OlderApi if name == "older" else Api)(self[name].url, token=person.tokens["access_token"])
        client.event_hooks = {"request": [lambda request: request.headers.update(new_address())]}
        person.at_close.callback(client.close)
        return client


@pytest.fixture(scope="module")
def upgrade(module_stores: OwnStores) -> Iterator[Upgrade]:
    with tempfile.TemporaryDirectory(prefix="edgechat-older-") as folder:
        environment = {
            **module_stores.env,
            "DATA_DIR": folder,
            "JWT_SECRET": "the same secret in both versions, 0123456789",
            **LIMITS,
        }
        path = "/api/v1/health"
        newer = WebServer(environment, data_dir=Path(folder), workers=1, ready_path=path, name="newer")
        older = WebServer(
            environment,
            data_dir=Path(folder),
            workers=1,
            ready_path=path,
            name="older",
            project=SOURCE,
            python=str(PYTHON),
        )
        try:
            yield Upgrade(older, newer)
        finally:
            for web in (newer, older):
                web.kill()


@pytest.fixture
def alice(upgrade: Upgrade) -> Iterator[Person]:
    person = Person(upgrade["newer"].url, "alice")
    yield person
    person.close()


def ended(client: Api, path: str) -> dict[str, Any] | None:
    """The reply in a conversation when it is complete."""
    messages: list[dict[str, Any]] = client.get(path).json()["messages"]
    return messages[1] if messages[1]["status"] == "complete" else None


@BOTH_WAYS
def test_a_reply_is_resumed_and_stopped_at_the_other(upgrade: Upgrade, alice: Person, first: str, second: str) -> None:
    running, other = Running(upgrade.at(first, alice), LONG), upgrade.at(second, alice)
    try:
        headers = {"Last-Event-ID": running.told[-1]["id"]}
        with other.stream("GET", f"{running.path}/{running.mid}/stream", headers=headers) as answer:
            followed = read_events(answer.iter_lines())
            events = [*running.told, *(next(followed) for _ in range(3))]
            final = other.post(f"{running.path}/{running.mid}/stop").json()
            events += followed
        assert final["status"] == "stopped"
        assert "restart" not in [each.get("event") for each in events]
        assert text_of(events) == final["content"]
        last = list(running.events)[-1]["data"]
        assert (last["content"], last["status"]) == (final["content"], "stopped")
    finally:
        running.close()


@BOTH_WAYS
@pytest.mark.parametrize("end", [WebServer.kill, WebServer.terminate], ids=["killed", "terminated"])
def test_its_replies_are_taken_over_by_the_other(
    upgrade: Upgrade,
    alice: Person,
    eventually: Eventually,
    first: str,
    second: str,
    end: Callable[[WebServer], None],
) -> None:
    running, other = Running(upgrade.at(first, alice), SHORT), upgrade.at(second, alice)
    headers = {"Last-Event-ID": running.told[-1]["id"]}
    with other.stream("GET", f"{running.path}/{running.mid}/stream", headers=headers) as answer:
        followed = read_events(answer.iter_lines())
        next(followed)
        end(upgrade[first])
        running.close()
        events = list(followed)
    reply = eventually(lambda: ended(other, running.path))
    assert reply["content"].split().count("word") >= SHORT.count("word ")
    # Whoever followed it from another process is told all of it.
    assert events[-1]["data"]["content"] == reply["content"]
    entries = LedgerEntry.objects.filter(user_id=alice.id)
    eventually(lambda: entries.exists() and all(entry.settled_at for entry in entries))
    again = upgrade.at(first, alice)
    assert ended(again, running.path) == {**reply, **ended(again, running.path)}  # type: ignore[dict-item]


@BOTH_WAYS
def test_a_conversation_goes_on_at_the_other(upgrade: Upgrade, alice: Person, first: str, second: str) -> None:
    one, other = upgrade.at(first, alice), upgrade.at(second, alice)
    path = f"chat/conversations/{one.post('chat/conversations', json={}).json()['id']}/messages"
    shown = upload(one, picture(40, 30)).json()["id"]
    body = {"content": "Good morning", "client_message_id": "m1", "attachment_ids": [shown]}
    sent = one.post(path, json=body)
    assert sent.status_code == 200, sent.text
    mid = sent.json()["model_message"]["id"]
    repeated = other.post(path, json=body)
    assert repeated.json()["model_message"]["id"] == mid
    assert other.get(f"chat/attachments/{shown}").status_code == 200
    changed = other.post(f"{path}/{mid}/regenerate", json={"content": "Good evening"})
    assert changed.status_code == 200, changed.text
    assert one.post(path, json={"content": "And more"}).status_code == 200
    again = other.post(path, json={"content": "Even more"})
    assert again.status_code == 200
    assert one.post(f"{path}/{again.json()['model_message']['id']}/regenerate").status_code == 200
    for client in (one, other):
        messages = client.get(path).json()["messages"]
        assert [(each["seq"], each["status"]) for each in messages] == [(seq, "complete") for seq in range(1, 7)]
        assert [each["content"] for each in messages[0::2]] == ["Good evening", "And more", "Even more"]
        assert [len(each["variants"]) for each in messages[1::2]] == [1, 0, 1]
    since = one.get("chat/changes").json()
    assert [each["id"] for each in since["conversations"]] == [path.split("/")[2]]
    assert other.delete(path.removesuffix("/messages")).status_code == 204
    changes = one.get("chat/changes", params={"since": since["next_since"]}).json()
    assert changes["deleted"] == [path.split("/")[2]]


@BOTH_WAYS
def test_limits_count_together(upgrade: Upgrade, alice: Person, first: str, second: str) -> None:
    address = new_address()
    one, other = upgrade.at(first, alice), upgrade.at(second, alice)
    statuses = []
    for name in [first, second] * 3:
        with OlderApi(upgrade[name].url) as api:
            statuses.append(api.post("auth/login", headers=address).status_code)
    assert statuses == [422] * 4 + [429] * 2
    running = [Running(one, LONG), Running(other, LONG)]
    try:
        for client in (one, other):
            another = client.post("chat/conversations", json={}).json()["id"]
            assert client.post(f"chat/conversations/{another}/messages", json={"content": "Hi"}).status_code == 429
    finally:
        for each in running:
            assert other.post(f"{each.path}/{each.mid}/stop").status_code == 200
            list(each.events)
            each.close()


def test_a_budget_is_one_for_both(upgrade: Upgrade, alice: Person) -> None:
    Budget.objects.create(user_id=alice.id, period="month", token_limit=1000)
    clients = [upgrade.at("older", alice), upgrade.at("newer", alice)]
    body = {"prompt": f"[[delay=0.3]][[length=400]]budget-{alice.id}"}
    answers = at_once(30, lambda number: clients[number % 2].post("ai/complete", json=body))
    assert {answer.status_code for answer in answers} == {200, 429}
    entries = LedgerEntry.objects.filter(user_id=alice.id)
    assert sum(entry.input_tokens + entry.output_tokens for entry in entries) <= 1000


@BOTH_WAYS
def test_a_session_that_ends_at_one_ends_at_the_other(upgrade: Upgrade, alice: Person, first: str, second: str) -> None:
    one, other = upgrade.at(first, alice), upgrade.at(second, alice)
    refreshed = other.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]}).json()
    one.headers["Authorization"] = f"Bearer {refreshed['access_token']}"
    running = Running(one, LONG)
    try:
        assert other.post("auth/logout").status_code == 200
        assert list(running.events)[-1]["data"]["code"] == "token_revoked"
    finally:
        running.close()
    for client in (one, other):
        assert client.get("users/me").status_code == 401


@BOTH_WAYS
def test_an_import_goes_on_at_the_other(
    upgrade: Upgrade, alice: Person, eventually: Eventually, first: str, second: str
) -> None:
    one = upgrade.at(first, alice)
    if one.post("chat/imports").status_code == 404:
        pytest.skip("the earlier version has no imports")
    export = [chatgpt(f"talk-{number}", *["Hello", "Hello, you"] * 20) for number in range(99)]
    sent = send_import(one, export)
    assert sent.status_code == 202, sent.text
    upgrade[first].kill()
    other = upgrade.at(second, alice)
    if other.post("chat/imports").status_code == 404:
        other = upgrade.at(first, alice)  # the import waits for a process that knows imports
    done = finished(other, eventually, sent.json()["id"])
    assert (done["status"], len(listed(other))) == ("finished", 99)
