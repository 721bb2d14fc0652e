"""Repeated sends: one pair, one call to the model, one charge."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import Person
from usage.models import LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]

CONFLICT = {"detail": "This key was used before, with another body", "code": "idempotency_conflict"}


def chat_rows(person: Person) -> int:
    return LedgerEntry.objects.filter(user_id=person.id, purpose="chat").count()


def send(person: Person, conversation: str, content: str, *, header: str | None = None, **body: Any) -> Any:
    headers = {} if header is None else {"Idempotency-Key": header}
    path = f"chat/conversations/{conversation}/messages"
    return person.post(path, json={"content": content, **body}, headers=headers)


@pytest.mark.parametrize("by_header", [False, True])
def test_twenty_at_once_are_one_pair_one_call_and_one_charge(
    alice: Person, model_calls: ModelCalls, by_header: bool
) -> None:
    conversation = alice.new_conversation(title="Once")
    content = f"[[delay=0.3]] once-{alice.id}"

    def one(_: int) -> Any:
        if by_header:
            return send(alice, conversation, content, header="key-1")
        return send(alice, conversation, content, client_message_id="key-1")

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    pair = answers[0].json()
    assert all(answer.json() == pair for answer in answers)
    assert pair["user_message"]["client_message_id"] == "key-1"
    assert (pair["user_message"]["seq"], pair["model_message"]["seq"]) == (1, 2)
    stored = alice.messages(conversation)
    assert stored == {"messages": [pair["user_message"], pair["model_message"]], "has_more": False}
    assert len(model_calls(f"once-{alice.id}")) == 1
    assert chat_rows(alice) == 1
    assert one(0).json() == pair
    assert chat_rows(alice) == 1


def test_header_and_body_field_are_the_same_key(alice: Person) -> None:
    conversation = alice.new_conversation(title="Once")
    first = send(alice, conversation, "hello", header="key-1")
    assert send(alice, conversation, "hello", client_message_id="key-1").json() == first.json()
    assert send(alice, conversation, "hello", client_message_id="key-1", header="key-1").json() == first.json()
    assert chat_rows(alice) == 1


def test_header_and_body_field_that_differ_are_422(alice: Person) -> None:
    conversation = alice.new_conversation(title="Once")
    answer = send(alice, conversation, "hello", client_message_id="key-1", header="key-2")
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": "Validation error",
        "code": "validation_error",
        "request_id": answer.headers["X-Request-ID"],
        "errors": [{"field": "body.client_message_id", "message": "Differs from the Idempotency-Key header."}],
    }
    assert alice.messages(conversation)["messages"] == []


def test_another_body_is_409_while_the_reply_runs_and_after(alice: Person) -> None:
    conversation = alice.new_conversation(title="Once")
    with ThreadPoolExecutor(10) as pool:
        texts = [f"[[delay=0.3]]{n % 2}" for n in range(10)]
        answers = list(pool.map(lambda text: send(alice, conversation, text, client_message_id="key-1"), texts))
    won = [answer for answer in answers if answer.status_code == 200]
    lost = [answer for answer in answers if answer.status_code != 200]
    assert (len(won), len(lost)) == (5, 5)
    for answer in [*lost, send(alice, conversation, "third", client_message_id="key-1")]:
        assert (answer.status_code, answer.json()) == (
            409,
            {**CONFLICT, "request_id": answer.headers["X-Request-ID"]},
        )
    assert len(alice.messages(conversation)["messages"]) == 2


def test_another_conversation_and_another_user_have_keys_of_their_own(alice: Person, bob: Person) -> None:
    first, second, his = (person.new_conversation(title="Once") for person in (alice, alice, bob))
    for person, conversation in ((alice, first), (alice, second), (bob, his)):
        answer = send(person, conversation, conversation, client_message_id="key-1")
        assert (answer.status_code, answer.json()["model_message"]["content"]) == (200, f"Echo: {conversation}")
    assert (chat_rows(alice), chat_rows(bob)) == (2, 1)


@pytest.mark.parametrize(
    ("directive", "status"), [("[[status=503]]", 503), ("[[status=429]]", 429), ("[[cut=0]]", 503)]
)
def test_after_a_failure_the_same_send_is_200_with_the_failed_pair(
    alice: Person, model_calls: ModelCalls, directive: str, status: int
) -> None:
    conversation = alice.new_conversation(title="Once")
    content = f"{directive} failed-{alice.id}"
    first = send(alice, conversation, content, client_message_id="key-1")
    assert first.status_code == status
    again = send(alice, conversation, content, client_message_id="key-1")
    assert (again.status_code, again.json()) == (200, first.json()["context"])
    assert again.json()["model_message"]["status"] == "failed"
    assert len(model_calls(f"failed-{alice.id}")) == 1
    assert chat_rows(alice) == 1


def test_the_pair_is_told_as_it_is_now(alice: Person) -> None:
    conversation = alice.new_conversation(title="Once")
    mid = send(alice, conversation, "hello", client_message_id="key-1").json()["model_message"]["id"]
    alice.put(f"chat/conversations/{conversation}/messages/{mid}/feedback", json={"rating": "up"})
    again = send(alice, conversation, "hello", client_message_id="key-1").json()
    assert again["model_message"]["feedback"] == {"rating": "up", "comment": None}
    send(alice, conversation, "more", client_message_id="key-2")
    assert send(alice, conversation, "hello", client_message_id="key-1").json() == again


def test_without_a_key_the_same_text_is_said_twice(alice: Person) -> None:
    conversation = alice.new_conversation(title="Once")
    for _ in range(2):
        assert send(alice, conversation, "hello").status_code == 200
    assert send(alice, conversation, "hello", client_message_id=None).status_code == 200
    assert len(alice.messages(conversation)["messages"]) == 6


@pytest.mark.parametrize("key", ["k" * 129, "", "a\x00b", ["k"], {"k": 1}, True])
def test_a_key_that_is_none_is_422_and_nothing_is_stored(alice: Person, key: Any) -> None:
    conversation = alice.new_conversation(title="Once")
    answer = send(alice, conversation, "hello", client_message_id=key)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (
        422,
        ["body.client_message_id"],
    )
    assert alice.messages(conversation)["messages"] == []


@pytest.mark.parametrize("key", ["", "k" * 129, "a\tb"])
def test_a_key_header_that_is_none_is_422(alice: Person, key: str) -> None:
    conversation = alice.new_conversation(title="Once")
    answer = send(alice, conversation, "hello", header=key)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (
        422,
        ["header.Idempotency-Key"],
    )


@pytest.mark.parametrize("key", ["k" * 128, "$where", "a.b", "😀", "with space"])
def test_any_printable_key_is_taken(alice: Person, key: str) -> None:
    conversation = alice.new_conversation(title="Once")
    pair = send(alice, conversation, "hello", client_message_id=key).json()
    assert send(alice, conversation, "hello", client_message_id=key).json() == pair
    assert pair["user_message"]["client_message_id"] == key


def test_creating_a_conversation_twenty_times_with_one_key_makes_one(alice: Person, bob: Person) -> None:
    def create(person: Person, title: str) -> Any:
        return person.post("chat/conversations", json={"title": title}, headers={"Idempotency-Key": "new"})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: create(alice, "Once"), range(20)))
    assert [answer.status_code for answer in answers] == [201] * 20
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert alice.get("chat/conversations").json()["conversations"] == [answers[0].json()]
    other = create(alice, "Other")
    assert (other.status_code, other.json()) == (409, {**CONFLICT, "request_id": other.headers["X-Request-ID"]})
    assert create(bob, "Other").status_code == 201
