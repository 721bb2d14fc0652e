"""The documents of the older EdgeChat: one for each conversation, with its messages in a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from conversations.imports.reading.values import (
    Conversation,
    Turn,
    identity,
    joined,
    mapping,
    moment,
    picture,
    sequence,
    words,
)

_ROLES = {"user": "user", "human": "user"} | dict.fromkeys(("model", "assistant", "ai", "bot"), "model")
_TIMES = ("created_at", "createdAt", "timestamp", "time")


def reads(entry: Mapping[str, Any]) -> bool:
    return isinstance(_first(entry, "messages", "history"), list)


def read(entry: Mapping[str, Any]) -> Conversation:
    owner = _first(entry, "user_id", "userId", "owner_id", "owner", "user")
    owner = mapping(owner).get("$oid", mapping(owner).get("$numberLong", owner))
    conversation = Conversation(
        identity(entry.get("_id", entry.get("id")), entry),
        title=words(_first(entry, "title", "name")) or None,
        owner=str(owner)[:100] if isinstance(owner, (str, int)) else None,
        pinned=_first(entry, "pinned", "is_pinned") is True,
        archived=_first(entry, "archived", "is_archived") is True,
        created_at=moment(_first(entry, *_TIMES)),
        updated_at=moment(_first(entry, "updated_at", "updatedAt")),
    )
    if instruction := _text(_first(entry, "system_instruction", "system_prompt", "systemInstruction"), Counter()):
        conversation.system.append(instruction)
    for each in sequence(_first(entry, "messages", "history")):
        _read_message(mapping(each), conversation)
    return conversation


def _first(document: Mapping[str, Any], *names: str) -> Any:
    return next((value for name in names if (value := document.get(name)) is not None), None)


def _read_message(message: Mapping[str, Any], conversation: Conversation) -> None:
    said = _first(message, "role", "sender", "type", "author")
    role = _ROLES.get(said.lower()) if isinstance(said, str) else None
    text = _text(_first(message, "content", "text", "parts", "message"), conversation.notes)
    if role is None:
        if said == "system" and text:
            conversation.system.append(text)
        else:
            conversation.notes["other"] += 1
        return
    for name in ("image", "image_url", "image_id"):
        if message.get(name):
            conversation.notes["picture"] += 1
            text = joined([text, picture()])
            break
    if text:
        conversation.turns.append(Turn("user" if role == "user" else "model", text, moment(_first(message, *_TIMES))))


def _text(value: Any, notes: Counter[str]) -> str:
    """A text, one part or a list of parts in Gemini's form."""
    if isinstance(value, list):
        return joined(_text(part, notes) for part in value if not isinstance(part, list))
    if isinstance(value, dict):
        if text := words(value.get("text")):
            return text
        if inner := sequence(value.get("parts")):
            return joined(words(mapping(part).get("text")) for part in inner)
        notes["picture"] += 1
        return picture()
    return words(value)
