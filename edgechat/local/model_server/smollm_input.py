"""What SmolLM2 is given: the conversation as tokens that fit its context, and a JSON Schema with limits. Pure."""

from collections.abc import Sequence
from typing import Any

from edgechat.local.model_server.gemini_protocol import Content

# SmolLM2's ids of <|im_start|> and <|im_end|>. Texts are tokenized without special tokens, so no text can produce
# these.
MESSAGE_START, MESSAGE_END = 1, 2
ROLE_NAMES = {"user": "user", "model": "assistant"}
SYSTEM_SHARE = 3

MAX_STRING_CHARACTERS = 200
MAX_ARRAY_ITEMS = 6
MAX_DEPTH = 20
ANY_OBJECT = {"type": "object", "maxProperties": 6, "additionalProperties": {"type": ["string", "number"]}}

MixedText = list[int | str]


def compose_prompt(system: str, messages: Sequence[Content]) -> MixedText:
    """A conversation in ChatML as special tokens and texts, which ends with the start of the answer."""
    prompt: MixedText = [MESSAGE_START, f"system\n{system}", MESSAGE_END, "\n"]
    for message in messages:
        prompt += [MESSAGE_START, f"{ROLE_NAMES[message.role]}\n{message.text}", MESSAGE_END, "\n"]
    return [*prompt, MESSAGE_START, "assistant\n"]


def split_messages(tokens: Sequence[int]) -> list[list[int]]:
    """The tokens of each message, including its start."""
    messages: list[list[int]] = []
    for token in tokens:
        if token == MESSAGE_START:
            messages.append([])
        messages[-1].append(token)
    return messages


def fit_prompt(tokens: Sequence[int], limit: int) -> list[int]:
    """At most `limit` tokens of a composed prompt, cut so that it still reads as a conversation.

    The result keeps the system instruction (a third of the room at most), the last message, and as many whole messages
    before it as fit. A message that is too long on its own keeps its head and its tail.
    """
    if len(tokens) <= limit:
        return list(tokens)
    system, *middle, last, answer = split_messages(tokens)
    system = shorten_message(system, limit // SYSTEM_SHARE)
    last = shorten_message(last, limit - len(system) - len(answer))
    room = limit - len(system) - len(last) - len(answer)
    kept: list[list[int]] = []
    for message in reversed(middle):
        room -= len(message)
        if room < 0:
            break
        kept.insert(0, message)
    return [token for message in (system, *kept, last, answer) for token in message]


def shorten_message(message: list[int], limit: int) -> list[int]:
    """The message's head and tail, including its role at the start and its end mark."""
    if len(message) <= limit:
        return message
    head = (limit + 1) // 2
    return message[:head] + message[len(message) - (limit - head) :]


def bound_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, or a narrower one: strings, lists and blanks without a limit get one."""
    bounded = bound(schema or ANY_OBJECT, 0)
    if bounded.get("type") == "array":
        # If an empty list is allowed, the model always writes one.
        bounded.setdefault("minItems", min(1, int(bounded["maxItems"])))
    return {**bounded, "x-guidance": {"whitespace_flexible": False}}


def bound(schema: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        return schema
    out = dict(schema)
    kind = out.get("type")
    if kind in ("string", ["string", "number"]) and "enum" not in out and "format" not in out and "pattern" not in out:
        out.setdefault("maxLength", max(MAX_STRING_CHARACTERS, int(out.get("minLength", 0))))
    if kind == "array":
        out.setdefault("maxItems", max(MAX_ARRAY_ITEMS, int(out.get("minItems", 0))))
    if kind == "object" and out.get("properties"):
        # A small model would keep inventing properties that the schema does not name.
        out.setdefault("additionalProperties", False)
        out.setdefault("required", list(out["properties"]))
    for name in ("properties", "$defs"):
        if isinstance(out.get(name), dict):
            out[name] = {key: bound_any(value, depth) for key, value in out[name].items()}
    for name in ("items", "additionalProperties"):
        if name in out:
            out[name] = bound_any(out[name], depth)
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(out.get(name), list):
            out[name] = [bound_any(option, depth) for option in out[name]]
    return out


def bound_any(value: Any, depth: int) -> Any:
    return bound(value, depth + 1) if isinstance(value, dict) else value
