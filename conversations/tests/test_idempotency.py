"""Never twice: the same client_message_id, or Idempotency-Key header, gives the same pair."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from conftest import Person, assert_error, at_once
from usage.models import LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]
CONFLICT = (409, "idempotency_conflict", "This key was used before, with another body")


def send(person: Person, conversation: str, content: str, *, key: str | None, header: bool = False) -> httpx2.Response:
    path = f"chat/conversations/{conversation}/messages"
    if header:
        return person.post(path, json={"content": content}, headers={"Idempotency-Key": key or ""})
    return person.post(path, json={"content": content, "client_message_id": key})


@pytest.mark.parametrize("header", [False, True], ids=["body", "header"])
def test_twenty_at_once_are_one_pair_one_call_and_one_charge(
    alice: Person, model_calls: ModelCalls, header: bool
) -> None:
    conversation = alice.new_conversation(title="Talk")
    text = f"{conversation} [[delay=0.5]]"
    answers = at_once(20, lambda _: send(alice, conversation, text, key="k-1", header=header))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert [answer.json() == answers[0].json() for answer in answers] == [True] * 20
    assert answers[0].json()["user_message"]["client_message_id"] == "k-1"
    assert len(model_calls(conversation)) == 1
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == 1
    assert alice.messages(conversation)["messages"] == list(answers[0].json().values())


@pytest.mark.parametrize("first", [False, True], ids=["body first", "header first"])
def test_body_and_header_are_the_same_key(alice: Person, model_calls: ModelCalls, first: bool) -> None:
    conversation = alice.new_conversation(title="Talk")
    answers = [send(alice, conversation, conversation, key="k", header=header) for header in (first, not first)]
    assert answers[0].json() == answers[1].json()
    assert len(model_calls(conversation)) == 1


def test_both_and_equal_are_one_key_and_different_ones_422(alice: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    path = f"chat/conversations/{conversation}/messages"
    body = {"content": "hello", "client_message_id": "a"}
    answer = alice.post(path, json=body, headers={"Idempotency-Key": "b"})
    errors = [{"field": "body.client_message_id", "message": "Differs from the Idempotency-Key header."}]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)
    assert alice.messages(conversation)["messages"] == []
    assert alice.post(path, json=body, headers={"Idempotency-Key": "a"}).status_code == 200


@pytest.mark.parametrize("key", ["", "k" * 129, "a\tb"])
def test_a_faulty_header_is_422(alice: Person, key: str) -> None:
    answer = send(alice, alice.new_conversation(title="Talk"), "hello", key=key, header=True)
    errors = [{"field": "header.Idempotency-Key", "message": "Must have 1 to 128 printable characters."}]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


@pytest.mark.parametrize(
    "key", ["k" * 128, "$where", "a.b", "{}", "0", "ключ 👩‍👩‍👧", str(uuid.UUID(int=7))], ids=ascii
)
def test_a_key_of_any_kind_works(alice: Person, key: str) -> None:
    conversation = alice.new_conversation(title="Talk")
    first, second = (send(alice, conversation, "hello", key=key) for _ in range(2))
    assert first.json()["user_message"]["client_message_id"] == key
    assert (second.status_code, second.json()) == (200, first.json())
    assert send(alice, conversation, "hello", key=f"{key[:-1]}x").json()["user_message"]["seq"] == 3


def test_another_body_with_the_key_is_409(alice: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    first = send(alice, conversation, "hello", key="k")
    for text in ("hello ", "other"):
        assert_error(send(alice, conversation, text, key="k"), *CONFLICT)
        assert_error(send(alice, conversation, text, key="k", header=True), *CONFLICT)
    assert send(alice, conversation, "hello", key="k").json() == first.json()
    assert len(alice.messages(conversation)["messages"]) == 2


def test_while_it_is_written_the_second_caller_follows_and_another_body_is_409(
    alice: Person, model_calls: ModelCalls, eventually: Callable[..., Any]
) -> None:
    conversation = alice.new_conversation(title="Talk")
    text = f"{conversation} [[delay=1]]"
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(send, alice, conversation, text, key="k")
        eventually(lambda: model_calls(conversation))
        second = pool.submit(send, alice, conversation, text, key="k", header=True)
        assert_error(send(alice, conversation, "other", key="k"), *CONFLICT)
        assert send(alice, conversation, "other", key="other").json()["code"] == "generation_in_progress"
        assert first.result().json() == second.result().json()
        assert first.result().json()["model_message"]["status"] == "complete"
    assert len(model_calls(conversation)) == 1


def test_a_failed_send_is_not_repeated_by_its_key(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Talk")
    text = f"{conversation} [[status=503]]"
    first = send(alice, conversation, text, key="k")
    assert first.status_code == 503
    second = send(alice, conversation, text, key="k")
    assert (second.status_code, second.json()) == (200, first.json()["context"])
    assert second.json()["model_message"]["status"] == "failed"
    assert len(model_calls(conversation)) == 1


def test_all_who_follow_a_send_that_fails_are_told_so(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Talk")
    text = f"{conversation} [[delay=1]] [[status=429]][[retry=7]]"
    answers = at_once(6, lambda _: send(alice, conversation, text, key="k"))
    assert {answer.status_code for answer in answers} <= {429, 200}
    assert answers[0].json() is not None
    for answer in answers:
        pair = answer.json() if answer.status_code == 200 else answer.json()["context"]
        assert pair["model_message"]["status"] == "failed"
        assert answer.headers.get("Retry-After") == ("7" if answer.status_code == 429 else None)
    assert len(model_calls(conversation)) == 1


def test_a_key_belongs_to_its_conversation(alice: Person, bob: Person) -> None:
    first, second, third = (
        alice.new_conversation(title="Talk"),
        alice.new_conversation(title="Talk"),
        bob.new_conversation(title="Talk"),
    )
    ids = {send(alice, one, "hello", key="k").json()["user_message"]["id"] for one in (first, second)}
    ids.add(send(bob, third, "other", key="k").json()["user_message"]["id"])
    assert ids == {f"{one}:00000001" for one in (first, second, third)}


def test_an_old_key_is_known_while_another_reply_is_written(
    alice: Person, model_calls: ModelCalls, eventually: Callable[..., Any]
) -> None:
    conversation = alice.new_conversation(title="Talk")
    old = send(alice, conversation, "old", key="old")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(alice.say, conversation, f"{conversation} [[delay=1]]")
        eventually(lambda: model_calls(conversation))
        assert send(alice, conversation, "old", key="old").json() == old.json()
        assert running.result().status_code == 200


def test_without_a_key_each_send_is_its_own(alice: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    seqs = [send(alice, conversation, "same", key=None).json()["user_message"]["seq"] for _ in range(3)]
    assert seqs == [1, 3, 5]
