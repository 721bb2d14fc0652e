"""The published schema of a chat completion's body. `ai.openai.requests` reads it; other fields are ignored."""

from __future__ import annotations

from typing import Any

_TEXT_OR_PARTS = {
    "description": "The text, or a list of texts and pictures.",
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
                    "text": {"type": "string", "description": "The text, of `text`."},
                    "image_url": {
                        "description": "The picture, of `image_url`.",
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
        "id": {"type": "string", "description": "The id of the call, which its result repeats."},
        "type": {"type": "string", "description": "Always `function`."},
        "function": {
            "description": "The function and its arguments.",
            "type": "object",
            "required": ["name", "arguments"],
            "properties": {
                "name": {"type": "string", "description": "The name of the function."},
                "arguments": {"type": "string", "description": "JSON."},
            },
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
            "description": "The conversation so far, the oldest message first.",
            "example": [{"role": "user", "content": "What is a lease?"}],
        },
        "stream": _optional("boolean", description="Whether the answer comes in chunks."),
        "stream_options": _optional(
            "object",
            description="Only with `stream`.",
            properties={"include_usage": _optional("boolean", description="Whether a last chunk has the usage.")},
        ),
        "max_completion_tokens": _optional("integer", minimum=1, description="The limit of tokens of the answer."),
        "max_tokens": _optional("integer", minimum=1, description="The smaller of the two limits counts."),
        "temperature": _optional("number", minimum=0, maximum=2, description="How much the answers vary."),
        "top_p": _optional("number", minimum=0, maximum=1, description="The share of likely tokens to choose from."),
        "seed": _optional("integer", description="The same seed gives similar answers."),
        "stop": {
            "description": "One to four texts at which the answer ends.",
            "nullable": True,
            "oneOf": [{"type": "string"}, {"type": "array", "maxItems": 4, "items": {"type": "string"}}],
        },
        "n": _optional("integer", minimum=1, maximum=1, description="Only one answer is made."),
        "response_format": _optional(
            "object",
            description="The form of the answer.",
            required=["type"],
            properties={
                "type": {"type": "string", "description": "`text`, `json_object` or `json_schema`."},
                "json_schema": {
                    "type": "object",
                    "description": "Of `json_schema`.",
                    "properties": {"schema": {"type": "object", "description": "The schema that the answer follows."}},
                },
            },
        ),
        "tools": _optional(
            "array",
            maxItems=128,
            description="Functions that the model may ask to be called.",
            items={
                "type": "object",
                "required": ["function"],
                "properties": {
                    "type": {"type": "string", "description": "Always `function`."},
                    "function": {
                        "type": "object",
                        "description": "The function.",
                        "required": ["name"],
                        "properties": {
                            "name": {
                                "type": "string",
                                "pattern": "^[a-zA-Z0-9_-]{1,64}$",
                                "description": "The name of the function.",
                            },
                            "description": _optional("string", description="What the function does."),
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
