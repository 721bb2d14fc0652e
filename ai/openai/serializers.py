"""The answers in OpenAI's protocol.

Source: https://platform.openai.com/docs/api-reference/chat/object and /chat/streaming
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from edgechat.errors import OpenAIError
from edgechat.http.bodies import Chunks
from edgechat.http.event_stream import PING_MEANING
from usage.ledger.tokens import TokenUsage

FinishReason = Annotated[str, "`stop`, `length`, `tool_calls` or `content_filter`."]
NoLogprobs = Annotated[dict[str, Any] | None, "Always null."]
Created = Annotated[int, "Seconds since 1970."]


class ToolFunctionOutput(TypedDict):
    name: str
    arguments: Annotated[str, "JSON."]


class ToolCallOutput(TypedDict):
    id: str
    type: Annotated[str, "Always `function`."]
    function: ToolFunctionOutput


class ChatMessageOutput(TypedDict):
    role: Annotated[str, "Always `assistant`."]
    content: str | None
    refusal: Annotated[str | None, "Why there is no answer, with `content_filter`."]
    tool_calls: NotRequired[list[ToolCallOutput]]


class ChatChoiceOutput(TypedDict):
    index: int
    message: ChatMessageOutput
    finish_reason: FinishReason
    logprobs: NoLogprobs


class PromptTokensOutput(TypedDict):
    cached_tokens: int


class CompletionTokensOutput(TypedDict):
    reasoning_tokens: int


class ChatUsageOutput(TypedDict):
    prompt_tokens: int
    completion_tokens: Annotated[int, "Includes reasoning."]
    total_tokens: int
    prompt_tokens_details: PromptTokensOutput
    completion_tokens_details: CompletionTokensOutput


class ChatCompletionOutput(TypedDict):
    id: str
    object: Annotated[str, "Always `chat.completion`."]
    created: Created
    model: Annotated[str, "The model that answers, whatever name the request has."]
    choices: list[ChatChoiceOutput]
    usage: ChatUsageOutput


class ToolCallDeltaOutput(ToolCallOutput):
    index: int


class ChatDeltaOutput(TypedDict):
    role: NotRequired[Annotated[str, "In the first chunk."]]
    content: NotRequired[str | None]
    tool_calls: NotRequired[list[ToolCallDeltaOutput]]
    refusal: NotRequired[str]


class ChunkChoiceOutput(TypedDict):
    index: int
    delta: ChatDeltaOutput
    finish_reason: Annotated[FinishReason | None, "Null until the last chunk."]
    logprobs: NoLogprobs


class ChatChunkOutput(TypedDict):
    id: Annotated[str, "The same in all chunks, as are `created` and `model`."]
    object: Annotated[str, "Always `chat.completion.chunk`."]
    created: Created
    model: str
    choices: Annotated[list[ChunkChoiceOutput], "Empty in the chunk with the usage."]
    usage: NotRequired[Annotated[ChatUsageOutput | None, "With `include_usage`: null until the last chunk."]]


CHUNKS = Chunks(
    "ChatCompletionData",
    "The value of one `data:` line of a streamed completion; the events have no names and no ids. Chunks come first, "
    "then `[DONE]`. The role is in the first chunk; `finish_reason` is null in all but the last with choices. With "
    "`stream_options.include_usage` one more chunk has the usage and no choices. A fault after the first chunk is a "
    "line with `error`, and no `[DONE]` follows. Closing the connection ends the call. " + PING_MEANING,
    ChatChunkOutput,
    OpenAIError,
)


class OpenAIModelOutput(TypedDict):
    id: str
    object: Annotated[str, "Always `model`."]
    created: Annotated[int, "Always 0: it is not known."]
    owned_by: str


class OpenAIModelsOutput(TypedDict):
    object: Annotated[str, "Always `list`."]
    data: list[OpenAIModelOutput]


def usage_body(usage: TokenUsage) -> ChatUsageOutput:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
    }
