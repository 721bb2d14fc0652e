"""ChatGPT's `conversations.json`: a tree of nodes for each conversation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
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

# Marks of citations, in characters for private use. None contains another one: a text of beginnings without ends would
# be read thousands of times.
_MARK = re.compile("\ue200[^\ue200\ue201]{0,5000}\ue201")
_CONTEXTS = ("user_editable_context", "model_editable_context")
_ENDS = {"max_tokens": "MAX_TOKENS", "length": "MAX_TOKENS"}


def reads(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("mapping"), dict)


def read(entry: Mapping[str, Any]) -> Conversation:
    """Raises NotImported."""
    nodes = mapping(entry["mapping"])
    conversation = Conversation(
        identity(entry.get("conversation_id") or entry.get("id"), entry),
        title=words(entry.get("title")) or None,
        pinned=entry.get("is_starred") is True or moment(entry.get("pinned_time")) is not None,
        archived=entry.get("is_archived") is True,
        created_at=moment(entry.get("create_time")),
        updated_at=moment(entry.get("update_time")),
    )
    path = branch(nodes, entry.get("current_node"), "parent", lambda node: moment(_message(node).get("create_time")))
    for name in path:
        _read_message(_message(nodes[name]), conversation)
    shown = set(path)
    conversation.notes["branch"] += sum(_is_text(_message(node)) for name, node in nodes.items() if name not in shown)
    return conversation


def _message(node: Any) -> Mapping[str, Any]:
    return mapping(mapping(node).get("message"))


def _role(message: Mapping[str, Any]) -> Any:
    return mapping(message.get("author")).get("role")


def _is_hidden(message: Mapping[str, Any]) -> bool:
    return mapping(message.get("metadata")).get("is_visually_hidden_from_conversation") is True


def _is_text(message: Mapping[str, Any]) -> bool:
    return (
        _role(message) in ("user", "assistant")
        and not _is_hidden(message)
        and message.get("recipient") in ("all", None)
        and bool(_text(message, Counter()))
    )


def _read_message(message: Mapping[str, Any], conversation: Conversation) -> None:
    role = _role(message)
    content = mapping(message.get("content"))
    if content.get("content_type") in _CONTEXTS or role == "system":
        conversation.system += _instructions(message, content)
        return
    text = _shown_text(message, conversation.notes)
    if not text:
        return
    turn = Turn("user" if role == "user" else "model", text, moment(message.get("create_time")))
    if turn.role == "model":
        _end(turn, message)
    conversation.turns.append(turn)


def _shown_text(message: Mapping[str, Any], notes: Counter[str]) -> str:
    """The text that the source shows of a message. One that it shows nothing of is counted in `notes`."""
    role, content = _role(message), mapping(message.get("content"))
    if role not in ("user", "assistant", "tool"):
        notes["other"] += bool(message)
    elif content.get("content_type") in ("thoughts", "reasoning_recap"):
        notes["thoughts"] += 1
    elif role == "tool":
        pictures = [picture(part) for part in sequence(content.get("parts")) if _is_picture(part)]
        notes["picture" if pictures else "tool"] += len(pictures) or 1
        return joined(pictures)
    elif message.get("recipient") not in ("all", None, ""):
        notes["tool"] += 1
    elif _is_hidden(message):
        notes["hidden"] += bool(_text(message, Counter()))
    else:
        return _text(message, notes)
    return ""


def _end(turn: Turn, message: Mapping[str, Any]) -> None:
    """How the answer ended."""
    end = mapping(mapping(message.get("metadata")).get("finish_details")).get("type")
    if end == "interrupted":
        turn.status, turn.finish_reason = "stopped", None
    elif message.get("status") == "in_progress":
        turn.status, turn.finish_reason = "interrupted", None
    elif isinstance(end, str):
        turn.finish_reason = _ENDS.get(end, "STOP")


def _instructions(message: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """The user's own instructions, or the text of a system message."""
    own = mapping(mapping(message.get("metadata")).get("user_context_message_data"))
    texts = [own.get("about_user_message"), own.get("about_model_message")]
    if not any(map(words, texts)):
        texts = [content.get("user_profile"), content.get("user_instructions"), content.get("model_set_context")]
    if not any(map(words, texts)):
        texts = [*sequence(content.get("parts")), content.get("text")]
    return [text for each in texts if (text := words(each))]


def _is_picture(part: Any) -> bool:
    kind = mapping(part).get("content_type")
    return kind == "image_asset_pointer" or (kind is None and "image" in str(mapping(part).get("asset_pointer", "")))


def _text(message: Mapping[str, Any], notes: Counter[str]) -> str:
    content = mapping(message.get("content"))
    kind = content.get("content_type")
    if kind == "code":
        code = words(content.get("text"))
        language = words(content.get("language"))
        shown = language if language.isalnum() and language != "unknown" else ""
        return f"```{shown}\n{code}\n```" if code else ""
    if kind not in ("text", "multimodal_text", None):
        notes["other"] += 1
        return ""
    texts = []
    for part in sequence(content.get("parts")) or [content.get("text")]:
        if isinstance(part, str):
            texts.append(_MARK.sub("", words(part)).strip())
        elif _is_picture(part):
            notes["picture"] += 1
            texts.append(picture(part))
        elif isinstance(part, dict):
            text = words(part.get("text"))
            notes["other" if not text else "sound"] += "asset_pointer" in str(part.get("content_type")) or not text
            texts.append(text)
    if _role(message) == "user":
        for each in sequence(mapping(message.get("metadata")).get("attachments")):
            if not str(mapping(each).get("mime_type") or mapping(each).get("mimeType")).startswith("image/"):
                notes["file"] += 1
                texts.append(named_file(mapping(each).get("name")))
    return joined(texts)
