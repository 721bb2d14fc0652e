"""The published schema of a chat completion's body. `ai.openai.requests` reads it; other fields are ignored."""

from __future__ import annotations

from typing import Any

_TEXT_OR_PARTS = {
    "nullable": True,
    "oneOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type"],
                "properties": {
                    "type": {"type": "string", "description": "`text`, or in a user's message `image_url`."},
                    "text": {"type": "string"},
                    "image_url": {
                        "type": "object",
                        "required": ["url"],
                        "properties": {"url": {"type": "string", "description": "`data:` or `https:`"}},
                    },
                },
            },
        },
    ],
}
_FUNCTION_CALL = {
    "type": "object",
    "required": ["id", "function"],
    "properties": {
        "id": {"type": "string"},
        "type": {"type": "string"},
        "function": {
            "type": "object",
            "required": ["name", "arguments"],
            "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}},
        },
    },
}
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "description": "`system`, `developer`, `user`, `assistant` or `tool`."},
        "content": _TEXT_OR_PARTS,
        "tool_calls": {"type": "array", "nullable": True, "items": _FUNCTION_CALL, "description": "Of `assistant`."},
        "tool_call_id": {"type": "string", "description": "Of `tool`."},
    },
}


def _optional(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "nullable": True, **more}


CHAT_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "model": _optional("string", description="Any name.", example="gemini-3.5-flash-lite"),
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": _MESSAGE,
            "example": [{"role": "user", "content": "What is a lease?"}],
        },
        "stream": _optional("boolean"),
        "stream_options": _optional("object", properties={"include_usage": _optional("boolean")}),
        "max_completion_tokens": _optional("integer", minimum=1),
        "max_tokens": _optional("integer", minimum=1, description="The smaller of the two limits counts."),
        "temperature": _optional("number", minimum=0, maximum=2),
        "top_p": _optional("number", minimum=0, maximum=1),
        "seed": _optional("integer"),
        "stop": {
            "nullable": True,
            "oneOf": [{"type": "string"}, {"type": "array", "maxItems": 4, "items": {"type": "string"}}],
        },
        "n": _optional("integer", minimum=1, maximum=1),
        "response_format": _optional(
            "object",
            required=["type"],
            properties={
                "type": {"type": "string", "description": "`text`, `json_object` or `json_schema`."},
                "json_schema": {"type": "object", "properties": {"schema": {"type": "object"}}},
            },
        ),
        "tools": _optional(
            "array",
            maxItems=128,
            items={
                "type": "object",
                "required": ["function"],
                "properties": {
                    "type": {"type": "string", "description": "Always `function`."},
                    "function": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"},
                            "description": _optional("string"),
                            "parameters": _optional("object", description="A JSON schema."),
                        },
                    },
                },
            },
        ),
        "tool_choice": {
            "nullable": True,
            "description": '`none`, `auto`, `required`, or `{"type": "function", "function": {"name"}}`.',
            "oneOf": [{"type": "string"}, {"type": "object"}],
        },
    },
}
