"""GET /chat/changes, for devices that were offline and for second devices."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import Person


def changes(person: Person, since: int = 0, **query: Any) -> dict[str, Any]:
    answer = person.get("chat/changes", params={"since": since, **query})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


class Device:
    """A device's copy of its owner's conversations, updated only by changes."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self.since = 0
        self.conversations: dict[str, dict[str, Any]] = {}

    def catch_up(self, **query: Any) -> None:
        while True:
            told = changes(self._person, self.since, **query)
            assert told["next_since"] >= self.since
            self.since = told["next_since"]
            for conversation in told["conversations"]:
                self.conversations[conversation["id"]] = conversation
            for gone in told["deleted"]:
                self.conversations.pop(gone, None)
            if not told["has_more"]:
                return


def all_conversations(person: Person) -> dict[str, dict[str, Any]]:
    listed = person.get("chat/conversations", params={"limit": 100}).json()["conversations"]
    archived = person.get("chat/conversations", params={"limit": 100, "archived": "true"}).json()["conversations"]
    return {conversation["id"]: conversation for conversation in listed + archived}


def test_from_zero_everything_is_told_the_oldest_change_first(alice: Person) -> None:
    assert changes(alice) == {"conversations": [], "deleted": [], "next_since": 0, "has_more": False}
    ids = [alice.new_conversation(title=f"{n}") for n in range(3)]
    alice.patch(f"chat/conversations/{ids[0]}", json={"archived": True})
    told = changes(alice)
    listed = all_conversations(alice)
    assert told == {
        "conversations": [listed[each] for each in (ids[1], ids[2], ids[0])],
        "deleted": [],
        "next_since": told["next_since"],
        "has_more": False,
    }
    assert alice.get("chat/changes").json() == told


def test_only_what_is_newer_is_told(alice: Person) -> None:
    ids = [alice.new_conversation(title=f"{n}") for n in range(3)]
    since = changes(alice)["next_since"]
    nothing = {"conversations": [], "deleted": [], "next_since": since, "has_more": False}
    assert changes(alice, since) == nothing
    changed = alice.patch(f"chat/conversations/{ids[1]}", json={"title": "changed"}).json()
    told = changes(alice, since)
    assert (told["conversations"], told["deleted"]) == ([changed], [])
    assert told["next_since"] > since
    alice.say(ids[2], "hello")
    said = changes(alice, told["next_since"])
    assert [(each["id"], each["message_count"]) for each in said["conversations"]] == [(ids[2], 2)]


def test_deletions_are_told_and_no_longer_the_deleted(alice: Person) -> None:
    ids = [alice.new_conversation(title=f"{n}") for n in range(3)]
    since = changes(alice)["next_since"]
    alice.delete(f"chat/conversations/{ids[1]}")
    told = changes(alice, since)
    assert (told["conversations"], told["deleted"], told["has_more"]) == ([], [ids[1]], False)
    assert changes(alice, told["next_since"])["deleted"] == []
    assert [each["id"] for each in changes(alice)["conversations"]] == [ids[0], ids[2]]


def test_a_change_from_the_future_is_not_taken_back(alice: Person) -> None:
    alice.new_conversation()
    assert changes(alice, 10_000) == {"conversations": [], "deleted": [], "next_since": 10_000, "has_more": False}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_together_tell_what_one_page_tells(alice: Person, limit: int) -> None:
    ids = [alice.new_conversation(title=f"{n}") for n in range(6)]
    alice.delete(f"chat/conversations/{ids[2]}")
    alice.patch(f"chat/conversations/{ids[0]}", json={"pinned": True})
    alice.delete(f"chat/conversations/{ids[4]}")
    whole = changes(alice)
    told: dict[str, list[Any]] = {"conversations": [], "deleted": []}
    since, more = 0, True
    while more:
        page = changes(alice, since, limit=limit)
        assert 0 < len(page["conversations"]) + len(page["deleted"]) <= limit
        assert page["next_since"] > since
        told["conversations"] += page["conversations"]
        told["deleted"] += page["deleted"]
        since, more = page["next_since"], page["has_more"]
    assert told == {"conversations": whole["conversations"], "deleted": whole["deleted"]}
    assert since == whole["next_since"]


def test_two_devices_see_the_same(alice: Person, bob: Person) -> None:
    phone, tablet = Device(alice), Device(alice)
    first, second = alice.new_conversation(title="1"), alice.new_conversation(title="2")
    bob.new_conversation(title="not hers")
    phone.catch_up()
    alice.delete(f"chat/conversations/{first}")
    alice.patch(f"chat/conversations/{second}", json={"title": "two"})
    tablet.catch_up()
    alice.new_conversation(title="3")
    for device in (phone, tablet):
        device.catch_up()
        assert device.conversations == all_conversations(alice)


def test_20_writers_at_once_and_a_polling_reader_that_misses_nothing(alice: Person) -> None:
    ids = [alice.new_conversation(title=f"{n}") for n in range(20)]
    writing = threading.Event()
    device = Device(alice)

    def poll() -> None:
        while not writing.is_set():
            device.catch_up(limit=7)

    def write(number: int) -> None:
        for turn in range(6):
            alice.patch(f"chat/conversations/{ids[number]}", json={"title": f"{number}.{turn}"})
        if number % 5 == 0:
            alice.delete(f"chat/conversations/{ids[number]}")
        else:
            alice.new_conversation(title=f"new {number}")

    reader = threading.Thread(target=poll)
    reader.start()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(write, range(20)))
    writing.set()
    reader.join()
    device.catch_up(limit=7)
    assert device.conversations == all_conversations(alice)
    assert {each["title"] for each in device.conversations.values()} == {
        title for n in range(20) if n % 5 for title in (f"{n}.5", f"new {n}")
    }


def test_20_devices_at_once_miss_nothing(alice: Person) -> None:
    for n in range(10):
        alice.new_conversation(title=f"{n}")
    devices = [Device(alice) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(Device.catch_up, devices))
    for device in devices:
        device.catch_up()
        assert device.conversations == all_conversations(alice)


@pytest.mark.parametrize("query", [{"since": -1}, {"since": "x"}, {"since": 2**53 + 1}])
def test_a_wrong_since_is_422(alice: Person, query: dict[str, Any]) -> None:
    answer = alice.get("chat/changes", params=query)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["query.since"])
