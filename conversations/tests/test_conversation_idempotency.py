"""Idempotency-Key on POST /chat/conversations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2

from conftest import Person
from conversations.transcript_repository import collections


def create(person: Person, key: str, **body: Any) -> httpx2.Response:
    return person.post("chat/conversations", json=body, headers={"Idempotency-Key": key})


def count(person: Person) -> int:
    return len(person.get("chat/conversations").json()["conversations"])


def test_the_same_key_and_body_give_the_same_conversation_as_it_is_now(alice: Person) -> None:
    first = create(alice, "k1", title="Plans")
    assert first.status_code == 201
    assert create(alice, "k1", title=" Plans ").json() == first.json()
    changed = alice.patch(f"chat/conversations/{first.json()['id']}", json={"title": "Other"}).json()
    again = create(alice, "k1", title="Plans")
    assert (again.status_code, again.json(), count(alice)) == (201, changed, 1)


def test_another_body_is_409(alice: Person) -> None:
    create(alice, "k1", title="Plans")
    for body in ({"title": "Other"}, {}, {"title": "Plans", "temporary": True}):
        answer = create(alice, "k1", **body)
        assert answer.status_code == 409
        assert answer.json() == {
            "detail": "This key was used before, with another body",
            "code": "idempotency_conflict",
            "request_id": answer.headers["X-Request-ID"],
        }
    assert count(alice) == 1


def test_twenty_at_once_make_one_conversation(alice: Person) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: create(alice, "k1", title="Plans"), range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == count(alice) == 1


def test_another_key_and_another_user_get_their_own(alice: Person, bob: Person) -> None:
    ids = {create(alice, "k1").json()["id"], create(alice, "k2").json()["id"], create(bob, "k1").json()["id"]}
    ids |= {alice.new_conversation(), alice.new_conversation()}
    assert (len(ids), count(alice), count(bob)) == (5, 4, 1)


def test_after_24_hours_the_key_is_new(alice: Person) -> None:
    first = create(alice, "k1", title="Plans").json()["id"]
    yesterday = collections.now() - timedelta(hours=24, seconds=1)
    collections.conversations().update_one({"_id": first}, {"$set": {"created_at": yesterday}})
    second = create(alice, "k1", title="Another")
    assert second.status_code == 201
    assert second.json()["id"] != first
    assert create(alice, "k1", title="Another").json() == second.json()
    assert count(alice) == 2


def test_a_key_that_is_empty_too_long_or_unprintable_is_422(alice: Person) -> None:
    for key in ("", "x" * 129, "a\tb"):
        answer = create(alice, key)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["header.Idempotency-Key"]
    assert count(alice) == 0
