"""Files as other programs export them, and imports of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from conftest import Person

Eventually = Callable[..., Any]
START = 1_700_000_000.5


def chatgpt_node(
    role: str, *parts: Any, parent: str | None, at: float | None = START, **message: Any
) -> dict[str, Any]:
    content = {"content_type": "text" if all(isinstance(part, str) for part in parts) else "multimodal_text"}
    content["parts"] = list(parts)  # type: ignore[assignment]
    whole: dict[str, Any] = {
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": at,
        "content": content,
        "status": "finished_successfully",
        "metadata": {},
        "recipient": "all",
    }
    return {"message": {**whole, **message}, "parent": parent, "children": []}


def chatgpt(source_id: str, *texts: str, title: str = "From elsewhere", at: float = START) -> dict[str, Any]:
    """A conversation of ChatGPT in which the user and the model speak in turn."""
    nodes: dict[str, Any] = {"root": {"message": None, "parent": None, "children": ["0"]}}
    for number, text in enumerate(texts):
        role = "assistant" if number % 2 else "user"
        parent = str(number - 1) if number else "root"
        nodes[str(number)] = chatgpt_node(role, text, parent=parent, at=at + number)
    return {
        "conversation_id": source_id,
        "title": title,
        "create_time": at,
        "update_time": at + len(texts),
        "current_node": str(len(texts) - 1),
        "mapping": nodes,
    }


def send_import(person: Person, content: Any, **fields: str) -> Any:
    """The answer to an upload of bytes, or of an object as JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return person.post("chat/imports", files={"file": ("conversations.json", data)}, data=fields)


def imported(person: Person, eventually: Eventually, content: Any, **fields: str) -> dict[str, Any]:
    """A finished or failed import."""
    answer = send_import(person, content, **fields)
    assert answer.status_code == 202, answer.text
    return finished(person, eventually, answer.json()["id"])


def finished(person: Person, eventually: Eventually, import_id: str) -> dict[str, Any]:
    def ended() -> Any:
        told = person.get(f"chat/imports/{import_id}").json()
        return told if told["status"] in ("finished", "failed") else None

    told: dict[str, Any] = eventually(ended)
    return told


def listed(person: Person) -> list[dict[str, Any]]:
    conversations: list[dict[str, Any]] = person.get("chat/conversations", params={"limit": 100}).json()[
        "conversations"
    ]
    return conversations


def texts(person: Person, conversation_id: str) -> list[tuple[str, str, str]]:
    """(role, status, content) of each message."""
    messages = person.messages(conversation_id)["messages"]
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    return [(message["role"], message["status"], message["content"]) for message in messages]
