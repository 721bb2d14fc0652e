"""PATCH /chat/conversations/{id}."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Person

NOT_FOUND = {"detail": "Conversation not found", "code": "not_found"}


def conversation_of(person: Person, conversation: str) -> dict[str, Any]:
    body: dict[str, Any] = person.get(f"chat/conversations/{conversation}").json()
    return body


@pytest.mark.parametrize(
    ("change", "becomes"),
    [
        ({"title": "  Plans  "}, {"title": "Plans"}),
        ({"title": "T" * 200}, {"title": "T" * 200}),
        ({"title": None}, {"title": None}),
        ({"title": " "}, {"title": None}),
        ({"pinned": True}, {"pinned": True}),
        ({"archived": True}, {"archived": True}),
        ({"system_instruction": "Be brief. 😀"}, {"system_instruction": "Be brief. 😀"}),
        ({"system_instruction": ""}, {"system_instruction": None}),
        ({"system_instruction": None}, {"system_instruction": None}),
        ({"title": "Both", "pinned": True, "organization_id": 7}, {"title": "Both", "pinned": True}),
    ],
)
def test_each_field_can_be_changed_and_nothing_else_changes_with_it(
    alice: Person, change: dict[str, Any], becomes: dict[str, Any]
) -> None:
    conversation = alice.new_conversation(title="Before", system_instruction="Rhyme.")
    before = conversation_of(alice, conversation)
    answer = alice.patch(f"chat/conversations/{conversation}", json=change)
    assert answer.status_code == 200
    assert answer.json() == {**before, **becomes, "updated_at": answer.json()["updated_at"]}
    assert answer.json()["updated_at"] >= before["updated_at"]
    assert conversation_of(alice, conversation) == answer.json()


@pytest.mark.parametrize("change", [{}, {"unknown": 1}])
def test_a_change_of_nothing_changes_nothing(alice: Person, change: dict[str, Any]) -> None:
    conversation = alice.new_conversation()
    before = conversation_of(alice, conversation)
    answer = alice.patch(f"chat/conversations/{conversation}", json=change)
    assert (answer.status_code, answer.json()) == (200, before)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": "T" * 201}, "body.title"),
        ({"title": {"a": 1}}, "body.title"),
        ({"pinned": None}, "body.pinned"),
        ({"pinned": "perhaps"}, "body.pinned"),
        ({"archived": None}, "body.archived"),
        ({"system_instruction": "x" * 8001}, "body.system_instruction"),
    ],
)
def test_a_wrong_value_is_422_on_its_field_and_changes_nothing(
    alice: Person, change: dict[str, Any], field: str
) -> None:
    conversation = alice.new_conversation(title="Before")
    before = conversation_of(alice, conversation)
    answer = alice.patch(f"chat/conversations/{conversation}", json={"archived": True, **change})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert conversation_of(alice, conversation) == before


@pytest.mark.parametrize("malformed", [None, "0" * 24, "x", "1'"])
def test_a_foreign_an_absent_and_a_malformed_conversation_are_the_same_404(
    alice: Person, bob: Person, malformed: str | None
) -> None:
    conversation = alice.new_conversation(title="Hers")
    answer = bob.patch(f"chat/conversations/{malformed or conversation}", json={"title": "Mine"})
    assert answer.status_code == 404
    assert answer.json() == {**NOT_FOUND, "request_id": answer.headers["X-Request-ID"]}
    assert conversation_of(alice, conversation)["title"] == "Hers"


def test_a_changed_system_instruction_goes_to_the_model_with_the_next_message(alice: Person, model_calls: Any) -> None:
    conversation = alice.new_conversation(title="Titled", system_instruction="Old rule.")
    alice.patch(f"chat/conversations/{conversation}", json={"system_instruction": "New rule."})
    marker = f"rule-{conversation}"
    alice.say(conversation, marker)
    (call,) = model_calls(marker)
    assert call["system_instruction"]["parts"] == [{"text": "New rule."}]
