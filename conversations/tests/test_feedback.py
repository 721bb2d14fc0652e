"""PUT /chat/conversations/{id}/messages/{mid}/feedback."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Person


@pytest.fixture
def pair(alice: Person) -> dict[str, Any]:
    body: dict[str, Any] = alice.say(alice.new_conversation(title="Titled"), "hello").json()
    return body


def path_of(message: dict[str, Any]) -> str:
    conversation = message["id"].partition(":")[0]
    return f"chat/conversations/{conversation}/messages/{message['id']}"


def test_feedback_is_given_changed_and_taken_back(alice: Person, pair: dict[str, Any]) -> None:
    message = pair["model_message"]
    assert message["feedback"] is None
    for given, kept in (
        ({"rating": "up"}, {"rating": "up", "comment": None}),
        ({"rating": "down", "comment": "Wrong 😀"}, {"rating": "down", "comment": "Wrong 😀"}),
        ({"rating": "down", "comment": ""}, {"rating": "down", "comment": None}),
        ({"rating": None, "comment": "Neither"}, {"rating": None, "comment": "Neither"}),
        ({"rating": None}, None),
        ({"rating": None}, None),
    ):
        answer = alice.put(f"{path_of(message)}/feedback", json=given)
        assert (answer.status_code, answer.json()) == (200, {**message, "feedback": kept})
        assert alice.get(path_of(message)).json() == answer.json()


def test_a_regenerated_answer_has_no_feedback_yet(alice: Person, pair: dict[str, Any]) -> None:
    path = path_of(pair["model_message"])
    alice.put(f"{path}/feedback", json={"rating": "down"})
    assert alice.post(f"{path}/regenerate").json()["model_message"]["feedback"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.rating"),
        ({"rating": "sideways"}, "body.rating"),
        ({"rating": True}, "body.rating"),
        ({"rating": "up", "comment": "x" * 2001}, "body.comment"),
    ],
)
def test_wrong_feedback_is_422_and_keeps_what_was_there(
    alice: Person, pair: dict[str, Any], body: dict[str, Any], field: str
) -> None:
    path = path_of(pair["model_message"])
    alice.put(f"{path}/feedback", json={"rating": "up"})
    answer = alice.put(f"{path}/feedback", json=body)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert alice.get(path).json()["feedback"] == {"rating": "up", "comment": None}


def test_the_users_own_message_takes_no_feedback(alice: Person, pair: dict[str, Any]) -> None:
    answer = alice.put(f"{path_of(pair['user_message'])}/feedback", json={"rating": "up"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "Message not found")


def test_a_strangers_feedback_is_404(alice: Person, bob: Person, pair: dict[str, Any]) -> None:
    path = path_of(pair["model_message"])
    answer = bob.put(f"{path}/feedback", json={"rating": "up"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "Conversation not found")
    assert alice.get(path).json()["feedback"] is None
