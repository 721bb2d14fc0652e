"""Claude's `conversations.json`: a list of messages for each conversation, perhaps with their parents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from conversations.imports.reading.values import (
    Conversation,
    Turn,
    branch,
    identity,
    joined,
    mapping,
    moment,
    named_file,
    picture,
    sequence,
    words,
)

_PARENT = "parent_message_uuid"
_ROLES = {"human": "user", "user": "user", "assistant": "model"}
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".heic")
_TOOLS = ("tool_use", "tool_result")
_THOUGHTS = ("thinking", "redacted_thinking")


def reads(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("chat_messages"), list)


def read(entry: Mapping[str, Any]) -> Conversation:
    """Raises NotImported."""
    conversation = Conversation(
        identity(entry.get("uuid"), entry),
        title=words(entry.get("name")) or None,
        pinned=entry.get("is_starred") is True,
        created_at=moment(entry.get("created_at")),
        updated_at=moment(entry.get("updated_at")),
    )
    for message in _current(entry, conversation):
        _read_message(message, conversation)
    return conversation


def _current(entry: Mapping[str, Any], conversation: Conversation) -> list[Mapping[str, Any]]:
    """The messages of the current branch; all of them in their order if they do not name their parents."""
    messages = [mapping(message) for message in sequence(entry.get("chat_messages"))]
    known = {name: each for each in messages if isinstance(name := each.get("uuid"), str)}
    if len(known) < len(messages) or not any(each.get(_PARENT) in known for each in messages if _has_parent(each)):
        return messages
    leaf = entry.get("current_leaf_message_uuid")
    path = branch(known, leaf, _PARENT, lambda message: moment(message.get("created_at")))
    conversation.notes["branch"] += len(messages) - len(path)
    return [known[name] for name in path]


def _has_parent(message: Mapping[str, Any]) -> bool:
    return isinstance(message.get(_PARENT), str)


def _read_message(message: Mapping[str, Any], conversation: Conversation) -> None:
    notes = conversation.notes
    sender = message.get("sender")
    role = _ROLES.get(sender) if isinstance(sender, str) else None
    if role is None:
        if sender == "system" and (text := words(message.get("text"))):
            conversation.system.append(text)
        else:
            notes["other"] += 1
        return
    texts = _blocks(message, notes) or [words(message.get("text"))]
    if text := joined([*texts, *_attachments(message, notes), *_files(message, notes)]):
        turn = Turn("user" if role == "user" else "model", text, moment(message.get("created_at")))
        if turn.role == "model" and message.get("truncated") is True:
            turn.finish_reason = "MAX_TOKENS"
        conversation.turns.append(turn)


def _blocks(message: Mapping[str, Any], notes: Counter[str]) -> list[str]:
    texts = []
    for block in sequence(message.get("content")):
        kind = mapping(block).get("type")
        if kind in _TOOLS:
            notes["tool"] += 1
        elif kind in _THOUGHTS:
            notes["thoughts"] += 1
        elif kind == "image":
            notes["picture"] += 1
            texts.append(picture())
        elif text := words(block) or words(mapping(block).get("text")):
            texts.append(text)
        elif kind not in ("text", "token_budget", "flag"):
            notes["other"] += 1
    return texts


def _attachments(message: Mapping[str, Any], notes: Counter[str]) -> Iterator[str]:
    """Files whose text the export has; long texts that were pasted are such files without a name."""
    for each in map(mapping, sequence(message.get("attachments"))):
        text = words(each.get("extracted_content"))
        if not text:
            notes["file"] += 1
        if not text or words(each.get("file_name")):
            yield named_file(each.get("file_name"))
        yield text


def _files(message: Mapping[str, Any], notes: Counter[str]) -> Iterator[str]:
    """Files that the export only names, some of them in two lists."""
    listed = map(mapping, [*sequence(message.get("files")), *sequence(message.get("files_v2"))])
    files = {str(each.get("file_uuid") or each.get("file_name")): each for each in listed}
    for each in files.values():
        name = words(each.get("file_name"))
        is_picture = each.get("file_kind") == "image" or name.lower().endswith(_PICTURES)
        notes["picture" if is_picture else "file"] += 1
        yield picture() if is_picture else named_file(name)
