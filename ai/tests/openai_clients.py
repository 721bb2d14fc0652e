"""Clients of OpenAI's own library, and parts of its requests."""

from __future__ import annotations

import base64
import io
import json
from typing import Any
from urllib.parse import quote

import openai
from PIL import Image

from conftest import Person

CHAT = "openai/v1/chat/completions"


def client_of(person: Person, *, key: str | None = None, **options: Any) -> openai.OpenAI:
    """The library as a person's client. The tests' own client sends its requests, and checks each answer."""
    return openai.OpenAI(
        base_url=f"{person.origin}/api/v1/openai/v1",
        api_key=key or person.tokens["access_token"],
        http_client=person,
        **{"max_retries": 0, **options},
    )


def user(content: Any) -> Any:
    return {"role": "user", "content": content}


def calling(*calls: tuple[str, dict[str, Any]]) -> str:
    """The directive for these function calls."""
    return f"[[call={quote(json.dumps([{'name': name, 'args': args} for name, args in calls]))}]]"


def data_url(width: int = 40, height: int = 30) -> str:
    data = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": True,
    },
}
