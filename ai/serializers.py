"""Input and output of the AI calls."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from rest_framework import serializers

from ai.openai.serializers import ChatCompletionOutput
from edgechat.http.bodies import Events, Words
from edgechat.http.event_stream import ONE_OFF_STREAM, DeltaEvent, ErrorEvent
from usage.ledger.tokens import TokenUsageOutput

MAX_PROMPT_CHARACTERS = 32_000
MAX_SYSTEM_INSTRUCTION_CHARACTERS = 8_000
# Above any real schema, and below the recursion limits on the way to the model.
MAX_SCHEMA_DEPTH = 32


FinishReason = Annotated[
    str | None,
    "Why the model stopped, in Gemini's words; null if it has not said so.",
    Words(
        "FinishReason",
        STOP="The answer is complete.",
        MAX_TOKENS="The answer was cut at its limit of tokens.",
        SAFETY="The model withheld the answer, or the rest of it, on safety grounds.",
        RECITATION="The answer repeated a protected text.",
        LANGUAGE="The model does not know the language.",
        BLOCKLIST="The answer has a forbidden word.",
        PROHIBITED_CONTENT="The answer has forbidden content.",
        SPII="The answer has personal data that the model must not tell.",
        MALFORMED_FUNCTION_CALL="The model's function call cannot be read.",
        OTHER="Another reason.",
    ),
]


class CompleteInput(serializers.Serializer[Any]):
    prompt = serializers.CharField(
        max_length=MAX_PROMPT_CHARACTERS, trim_whitespace=False, help_text="The question: 1 to 32,000 characters."
    )
    system_instruction = serializers.CharField(
        max_length=MAX_SYSTEM_INSTRUCTION_CHARACTERS,
        required=False,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text="What the model is told before the question.",
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
    text: Annotated[str, "The answer; JSON if `response_schema` was given."]
    model: Annotated[str, "The model that answered."]
    finish_reason: FinishReason
    usage: Annotated[TokenUsageOutput, "The tokens of the call; zeros for a cached answer."]
    cached: Annotated[bool, "Whether the answer is an earlier one, from the cache."]


class ImageOutput(TypedDict):
    id: Annotated[str | None, "Always null: these pictures are not stored."]
    mime_type: Annotated[str, "The type of the picture, without its metadata."]
    width: Annotated[int, "The width in pixels, after the orientation was applied."]
    height: Annotated[int, "The height in pixels, after the orientation was applied."]
    bytes: Annotated[int, "The size in bytes, without metadata."]
    sha256: Annotated[str, "The SHA-256 of the picture without its metadata, in hexadecimal."]


class VisionOutput(TypedDict):
    text: Annotated[str, "The answer."]
    model: Annotated[str, "The model that answered."]
    usage: Annotated[TokenUsageOutput, "The tokens of the call."]
    images: Annotated[list[ImageOutput], "The pictures, in the order in which they were sent."]


class SourceOutput(TypedDict):
    kind: Annotated[Literal["text", "url", "conversation"], "What was summarized."]
    url: NotRequired[Annotated[str, "The URL of the page, after redirects."]]
    title: NotRequired[Annotated[str, "The title of the page or the conversation."]]
    words: Annotated[int, "The number of words of the whole source."]


class SummaryOutput(TypedDict):
    summary: Annotated[str, "The summary."]
    finish_reason: Annotated[FinishReason, "`MAX_TOKENS` if the model could not finish the summary, or that of a part."]
    source: Annotated[SourceOutput, "What was summarized."]
    usage: Annotated[TokenUsageOutput, "Of all calls together; zeros for a cached summary."]
    cached: Annotated[bool, "Whether the answer is an earlier one, from the cache."]


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
    name: Annotated[str, "The name of the model."]
    input_token_limit: Annotated[int, "The number of tokens that it can read."]
    output_token_limit: Annotated[int, "The number of tokens that it can write."]
    vision: Annotated[bool, "Whether it sees pictures."]


class ModelsOutput(TypedDict):
    models: Annotated[list[ModelOutput], "The models, the one in use first."]


def depth_exceeds(value: Any, levels: int) -> bool:
    """Whether objects and lists are nested deeper than this; looks no deeper."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(children) and (levels == 0 or any(depth_exceeds(child, levels - 1) for child in children))
