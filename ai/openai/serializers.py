"""The answers in OpenAI's protocol.

Source: https://platform.openai.com/docs/api-reference/chat/object and /chat/streaming
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from edgechat.errors import OpenAIError
from edgechat.http.bodies import Chunks, Words
from edgechat.http.event_stream import PING_MEANING
from usage.ledger.tokens import TokenUsage

FinishReason = Annotated[
    str,
    "Why the answer ends, in OpenAI's words.",
    Words(
        "OpenAIFinishReason",
        stop="The answer is complete.",
        length="The answer was cut at its limit of tokens.",
        tool_calls="The model wants functions to be called.",
        content_filter="The model withheld the answer on safety grounds.",
    ),
]
NoLogprobs = Annotated[dict[str, Any] | None, "Always null."]
Created = Annotated[int, "Seconds since 1970."]


class ToolFunctionOutput(TypedDict):
    name: Annotated[str, "The name of the function."]
    arguments: Annotated[str, "JSON."]


class ToolCallOutput(TypedDict):
    id: Annotated[str, "The id of the call, for its result."]
    type: Annotated[str, "Always `function`."]
    function: Annotated[ToolFunctionOutput, "The function and its arguments."]


class ChatMessageOutput(TypedDict):
    role: Annotated[str, "Always `assistant`."]
    content: Annotated[str | None, "The answer; null with function calls only."]
    refusal: Annotated[str | None, "Why there is no answer, with `content_filter`."]
    tool_calls: NotRequired[Annotated[list[ToolCallOutput], "The functions that the model wants to be called."]]


class ChatChoiceOutput(TypedDict):
    index: Annotated[int, "Always 0."]
    message: Annotated[ChatMessageOutput, "The answer."]
    finish_reason: FinishReason
    logprobs: NoLogprobs


class PromptTokensOutput(TypedDict):
    cached_tokens: Annotated[int, "The tokens that the model took from its cache."]


class CompletionTokensOutput(TypedDict):
    reasoning_tokens: Annotated[int, "The tokens of the model's thinking."]


class ChatUsageOutput(TypedDict):
    prompt_tokens: Annotated[int, "The tokens of the request."]
    completion_tokens: Annotated[int, "Includes reasoning."]
    total_tokens: Annotated[int, "All tokens together."]
    prompt_tokens_details: Annotated[PromptTokensOutput, "Parts of `prompt_tokens`."]
    completion_tokens_details: Annotated[CompletionTokensOutput, "Parts of `completion_tokens`."]


class ChatCompletionOutput(TypedDict):
    id: Annotated[str, "The completion's id."]
    object: Annotated[str, "Always `chat.completion`."]
    created: Created
    model: Annotated[str, "The model that answers, whatever name the request has."]
    choices: Annotated[list[ChatChoiceOutput], "One choice: the answer."]
    usage: Annotated[ChatUsageOutput, "The tokens of the call."]


class ToolCallDeltaOutput(ToolCallOutput):
    index: Annotated[int, "The place of the call among those of the answer."]


class ChatDeltaOutput(TypedDict):
    role: NotRequired[Annotated[str, "In the first chunk."]]
    content: NotRequired[Annotated[str | None, "More of the text."]]
    tool_calls: NotRequired[Annotated[list[ToolCallDeltaOutput], "More functions that the model wants to be called."]]
    refusal: NotRequired[Annotated[str, "Why there is no answer, with `content_filter`."]]


class ChunkChoiceOutput(TypedDict):
    index: Annotated[int, "Always 0."]
    delta: Annotated[ChatDeltaOutput, "What is new since the chunk before."]
    finish_reason: Annotated[FinishReason | None, "Null until the last chunk."]
    logprobs: NoLogprobs


class ChatChunkOutput(TypedDict):
    id: Annotated[str, "The same in all chunks, as are `created` and `model`."]
    object: Annotated[str, "Always `chat.completion.chunk`."]
    created: Created
    model: Annotated[str, "The model that answers, whatever name the request has."]
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
    id: Annotated[str, "The model's name."]
    object: Annotated[str, "Always `model`."]
    created: Annotated[int, "Always 0: it is not known."]
    owned_by: Annotated[str, "Who offers the model."]


class OpenAIModelsOutput(TypedDict):
    object: Annotated[str, "Always `list`."]
    data: Annotated[list[OpenAIModelOutput], "The models."]


def usage_body(usage: TokenUsage) -> ChatUsageOutput:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
    }
