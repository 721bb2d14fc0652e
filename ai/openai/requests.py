"""The body of a chat completion as clients of OpenAI send it. Fields that are not listed here are ignored.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ai.serializers import MAX_SCHEMA_DEPTH, depth_exceeds
from edgechat.errors import Invalid

MAX_STOPS = 4
_MISSING = re.compile(r"missing required field `(\w+)`")

FunctionName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
TokenLimit = Annotated[int, Meta(ge=1)]


class TextPart(Struct, tag_field="type", tag="text"):
    text: str


class RefusalPart(Struct, tag_field="type", tag="refusal"):
    refusal: str


class ImageURL(Struct):
    url: str


class ImagePart(Struct, tag_field="type", tag="image_url"):
    image_url: ImageURL | str


class CalledFunction(Struct):
    name: FunctionName
    arguments: str = ""


class ToolCall(Struct):
    id: str
    function: CalledFunction


class SystemMessage(Struct, tag_field="role", tag="system"):
    content: str | list[TextPart]


class DeveloperMessage(Struct, tag_field="role", tag="developer"):
    content: str | list[TextPart]


class UserMessage(Struct, tag_field="role", tag="user"):
    content: str | list[TextPart | ImagePart]


class AssistantMessage(Struct, tag_field="role", tag="assistant"):
    content: str | list[TextPart | RefusalPart] | None = None
    tool_calls: list[ToolCall] | None = None


class ToolMessage(Struct, tag_field="role", tag="tool"):
    tool_call_id: str
    content: str | list[TextPart]


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class StreamOptions(Struct):
    include_usage: bool | None = None


class TextFormat(Struct, tag_field="type", tag="text"):
    pass


class JSONFormat(Struct, tag_field="type", tag="json_object"):
    pass


class NamedSchema(Struct):
    schema: dict[str, Any] | None = None


class SchemaFormat(Struct, tag_field="type", tag="json_schema"):
    json_schema: NamedSchema


class FunctionDefinition(Struct):
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Struct):
    function: FunctionDefinition
    type: Literal["function"] = "function"


class NamedFunction(Struct):
    name: FunctionName


class NamedChoice(Struct):
    function: NamedFunction
    type: Literal["function"] = "function"


class ChatInput(Struct):
    """A request. `model` may be any name, because one model answers all of them."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    response_format: TextFormat | JSONFormat | SchemaFormat | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def read_chat(body: Any) -> ChatInput:
    """Raises Invalid."""
    try:
        chat = msgspec.convert(body, ChatInput)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except UnicodeEncodeError as error:  # where something else than a free text is expected
        raise Invalid({"body": "Surrogate characters are not allowed."}) from error
    if chat.n is not None and chat.n != 1:
        raise Invalid({"body.n": "Only one choice is made: n must be 1."})
    if len(chat.stops) > MAX_STOPS:
        raise Invalid({"body.stop": f"May have {MAX_STOPS} sequences at most."})
    for name in ("tools", "response_format", "stop"):
        _require_forwardable(name, msgspec.to_builtins(getattr(chat, name)))
    return chat


def _invalid(text: str) -> Invalid:
    """The error for a fault as msgspec describes it: "Expected `str`, got `int` - at `$.messages[0].content`"."""
    message, _, place = text.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    if missing := _MISSING.search(message):
        place = f"{place}.{missing[1]}".lstrip(".")
    # The text may quote the request.
    return Invalid({f"body.{place}".rstrip("."): message.encode(errors="replace").decode()})


def _require_forwardable(name: str, value: Any) -> None:
    if depth_exceeds(value, MAX_SCHEMA_DEPTH):
        raise Invalid({f"body.{name}": f"May be nested {MAX_SCHEMA_DEPTH} levels deep at most."})
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # a lone surrogate
        raise Invalid({f"body.{name}": "Contains a character that cannot be forwarded."}) from None
