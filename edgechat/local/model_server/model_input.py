"""What a language model is given: the conversation as tokens that fit its context, and a JSON Schema with limits."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgechat.local.model_server.gemini_protocol import Content
from edgechat.local.model_server.llama_server import LlamaServer

ROLE_NAMES = {"user": "user", "model": "assistant"}
SYSTEM_SHARE = 3

MAX_STRING_CHARACTERS = 200
MAX_ARRAY_ITEMS = 6
MAX_DEPTH = 20
ANY_OBJECT = {"type": "object", "maxProperties": 6, "additionalProperties": {"type": ["string", "number"]}}


@dataclass(frozen=True)
class Message:
    role: str
    tokens: list[int]


class ConversationTokens:
    """Writes conversations in the chat template of the model's own file.

    Texts are tokenized apart from the template, without special tokens, so no text can produce these.
    """

    def __init__(self, llama: LlamaServer) -> None:
        self._llama = llama
        self._templates: dict[tuple[str, ...], list[list[int]]] = {}

    def compose(self, system: str, contents: Sequence[Content], limit: int | None = None) -> list[int]:
        """The conversation, which ends with the start of the answer; at most `limit` tokens, None for any number.

        To fit, it keeps the system instruction (a third of the room at most), the last message, and as many whole
        messages before it as fit. A message that is too long on its own keeps its head and its tail.
        """
        messages = self._messages(system, contents)
        tokens = self._join(messages)
        if limit is None or len(tokens) <= limit:
            return tokens
        instruction, *middle, last = messages
        frame = len(self._join([Message(each.role, []) for each in (instruction, last)]))
        instruction = _shortened(instruction, limit // SYSTEM_SHARE)
        last = _shortened(last, max(0, limit - frame - len(instruction.tokens)))
        tokens = self._join([instruction, last])
        kept: list[Message] = []
        for message in reversed(middle):
            longer = self._join([instruction, message, *kept, last])
            if len(longer) > limit:
                break
            kept.insert(0, message)
            # Many templates want the user's message first.
            if message.role == "user":
                tokens = longer
        return tokens

    def _messages(self, system: str, contents: Sequence[Content]) -> list[Message]:
        """The texts' tokens. Messages of one role in succession become one, as many templates want them in turns."""
        roles, texts = ["system"], [system]
        for content in contents:
            if roles[-1] == ROLE_NAMES[content.role]:
                texts[-1] += f"\n\n{content.text}"
            else:
                roles.append(ROLE_NAMES[content.role])
                texts.append(content.text)
        return [Message(role, tokens) for role, tokens in zip(roles, self._llama.tokenize(texts), strict=True)]

    def _join(self, messages: Sequence[Message]) -> list[int]:
        between = self._template(tuple(message.role for message in messages))
        joined = list(between[0])
        for message, after in zip(messages, between[1:], strict=True):
            joined += message.tokens + after
        return joined

    def _template(self, roles: tuple[str, ...]) -> list[list[int]]:
        """The tokens before, between and after the messages of these roles."""
        if roles not in self._templates:
            marks = [f"text{secrets.token_hex(8)}" for _ in roles]
            rest, parts = self._llama.apply_template(list(zip(roles, marks, strict=True))), []
            for mark in marks:
                part, _, rest = rest.partition(mark)
                parts.append(part)
            self._templates[roles] = self._llama.tokenize([*parts, rest], special=True)
        return self._templates[roles]


def _shortened(message: Message, limit: int) -> Message:
    """The message's head and tail."""
    if len(message.tokens) <= limit:
        return message
    head = (limit + 1) // 2
    return Message(message.role, message.tokens[:head] + message.tokens[len(message.tokens) - (limit - head) :])


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
