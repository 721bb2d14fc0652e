"""GET /chat/conversations/{id}/export."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Person

TEXTS = ['Hello 😀 "quoted" \\ back', "## A heading\n\n```\ncode\n```", "[[empty=1]]"]


@pytest.fixture
def conversation(alice: Person) -> str:
    conversation = alice.new_conversation(title="Plans / 😀", system_instruction="Be brief.")
    for text in TEXTS:
        alice.say(conversation, text)
    return conversation


@pytest.mark.parametrize("query", [{}, {"format": "json"}])
def test_json_holds_the_conversation_and_its_messages_as_the_api_gives_them(
    alice: Person, conversation: str, query: dict[str, Any]
) -> None:
    answer = alice.get(f"chat/conversations/{conversation}/export", params=query)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{conversation}.json"'
    assert answer.json() == {
        "conversation": alice.get(f"chat/conversations/{conversation}").json(),
        "messages": alice.messages(conversation)["messages"],
    }
    assert len(answer.json()["messages"]) == 6


def test_markdown_is_for_reading(alice: Person, conversation: str) -> None:
    alice.say(conversation, "[[block=partial]]unspeakable")
    messages = alice.messages(conversation)["messages"]
    answer = alice.get(f"chat/conversations/{conversation}/export", params={"format": "markdown"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{conversation}.md"'
    expected = "# Plans / 😀\n\n> Be brief.\n"
    for message in messages:
        name = "User" if message["role"] == "user" else "Model"
        at = f"{message['created_at'][:10]} {message['created_at'][11:16]} UTC"
        status = " (blocked)" if message["seq"] == 8 else ""
        expected += f"\n## {name}, {at}{status}\n\n{message['content']}\n"
    assert answer.text == expected


def test_an_empty_untitled_conversation_can_be_exported(alice: Person) -> None:
    conversation = alice.new_conversation()
    path = f"chat/conversations/{conversation}/export"
    assert alice.get(path).json()["messages"] == []
    assert alice.get(path, params={"format": "markdown"}).text == "# Conversation\n"


def test_more_messages_than_a_page_are_exported(alice: Person) -> None:
    conversation = alice.new_conversation(title="Long")
    for n in range(51):
        alice.say(conversation, f"[[say=ok]]{n}")
    exported = alice.get(f"chat/conversations/{conversation}/export").json()["messages"]
    assert [message["seq"] for message in exported] == list(range(1, 103))


def test_an_unknown_format_is_422(alice: Person, conversation: str) -> None:
    answer = alice.get(f"chat/conversations/{conversation}/export", params={"format": "pdf"})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["query.format"])


def test_a_foreign_conversation_is_404(conversation: str, bob: Person) -> None:
    answer = bob.get(f"chat/conversations/{conversation}/export")
    assert (answer.status_code, answer.json()["detail"]) == (404, "Conversation not found")
