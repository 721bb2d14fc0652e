"""Input and output of the AI calls."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from rest_framework import serializers

from ai.openai.serializers import ChatCompletionOutput
from edgechat.http.bodies import Events
from edgechat.http.event_stream import ONE_OFF_STREAM, DeltaEvent, ErrorEvent
from usage.ledger.tokens import TokenUsageOutput

MAX_PROMPT_CHARACTERS = 32_000
MAX_SYSTEM_INSTRUCTION_CHARACTERS = 8_000
# Above any real schema, and below the recursion limits on the way to the model.
MAX_SCHEMA_DEPTH = 32


class CompleteInput(serializers.Serializer[Any]):
    prompt = serializers.CharField(max_length=MAX_PROMPT_CHARACTERS, trim_whitespace=False)
    system_instruction = serializers.CharField(
        max_length=MAX_SYSTEM_INSTRUCTION_CHARACTERS, required=False, allow_null=True, allow_blank=True, default=None
    )
    response_schema = serializers.DictField(
        required=False, allow_null=True, default=None, help_text="A JSON schema that the answer will follow."
    )

    def validate_response_schema(self, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if depth_exceeds(value, MAX_SCHEMA_DEPTH):
            raise serializers.ValidationError(f"May be nested {MAX_SCHEMA_DEPTH} levels deep at most.")
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except ValueError:  # a number without a JSON form, or a lone surrogate
            raise serializers.ValidationError("Contains a number or a character that cannot be forwarded.") from None
        return value


class CompletionOutput(TypedDict):
    text: str
    model: str
    finish_reason: str | None
    usage: TokenUsageOutput
    cached: bool


class ImageOutput(TypedDict):
    id: Annotated[str | None, "Always null: these pictures are not stored."]
    mime_type: str
    width: int
    height: int
    bytes: int
    sha256: str


class VisionOutput(TypedDict):
    text: str
    model: str
    usage: TokenUsageOutput
    images: list[ImageOutput]


class SourceOutput(TypedDict):
    kind: Literal["text", "url", "conversation"]
    url: NotRequired[Annotated[str, "The URL of the page, after redirects."]]
    title: NotRequired[Annotated[str, "The title of the page or the conversation."]]
    words: Annotated[int, "The number of words of the whole source."]


class SummaryOutput(TypedDict):
    summary: str
    finish_reason: Annotated[str | None, "`MAX_TOKENS` if the model could not finish the summary, or that of a part."]
    source: SourceOutput
    usage: Annotated[TokenUsageOutput, "Of all calls together; zeros for a cached summary."]
    cached: bool


AnswerOutput = CompletionOutput | VisionOutput | SummaryOutput | ChatCompletionOutput


class ProgressOutput(TypedDict):
    done: Annotated[int, "The number of finished calls to the model, of those before the last one."]
    total: Annotated[
        int, "The number of calls before the last one. It grows if the parts' summaries are too long again."
    ]


COMPLETION_EVENTS = Events(
    "CompletionEvent",
    ONE_OFF_STREAM,
    delta=DeltaEvent,
    done=Annotated[CompletionOutput, "The whole answer. The stream ends."],
    error=ErrorEvent,
)
VISION_EVENTS = Events(
    "VisionEvent",
    ONE_OFF_STREAM,
    delta=DeltaEvent,
    done=Annotated[VisionOutput, "The whole answer. The stream ends."],
    error=ErrorEvent,
)
SUMMARY_EVENTS = Events(
    "SummaryEvent",
    ONE_OFF_STREAM,
    progress=Annotated[ProgressOutput, "One more part of a long source is summarized."],
    delta=DeltaEvent,
    done=Annotated[SummaryOutput, "The whole summary. The stream ends."],
    error=ErrorEvent,
)


class ModelOutput(TypedDict):
    name: str
    input_token_limit: int
    output_token_limit: int
    vision: bool


class ModelsOutput(TypedDict):
    models: list[ModelOutput]


def depth_exceeds(value: Any, levels: int) -> bool:
    """Whether objects and lists are nested deeper than this; looks no deeper."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(children) and (levels == 0 or any(depth_exceeds(child, levels - 1) for child in children))
