"""The prompt of a request."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django.conf import settings

from ai.gemini import Content, Function, FunctionCall, FunctionResult, Prompt, PromptPicture, Sampling, Tools
from ai.openai.pictures import MAX_PICTURES, read_image_url
from ai.openai.requests import (
    AssistantMessage,
    ChatInput,
    DeveloperMessage,
    ImagePart,
    JSONFormat,
    NamedChoice,
    RefusalPart,
    SchemaFormat,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from ai.openai.signatures import read_signatures
from edgechat.errors import ApiError, Invalid


class ContextTooLong(ApiError):
    """The clients know this code, or the beginning or the middle of this message, and shorten the conversation."""

    status, code, detail = 400, "context_length_exceeded", "The messages are longer than the model's context"

    def __init__(self, tokens: int) -> None:
        message = (
            "Input tokens exceed the configured limit: this model's maximum context length is "
            f"{settings.CONTEXT_MAX_TOKENS} tokens, and the messages have about {tokens}"
        )
        super().__init__(message, errors=[{"field": "body.messages", "message": message}])


def make_prompt(chat: ChatInput, *, user_id: int) -> Prompt:
    """The prompt, with its pictures fetched and checked. Raises Invalid, ContextTooLong and StoreUnavailable."""
    limits = [each for each in (chat.max_completion_tokens, chat.max_tokens) if each is not None]
    system, contents = _Conversation(chat, user_id).read()
    prompt = Prompt(
        contents=contents,
        system_instruction=system,
        response_schema=_response_schema(chat),
        sampling=Sampling(
            temperature=chat.temperature,
            top_p=chat.top_p,
            # Gemini takes 31 bits.
            seed=None if chat.seed is None else chat.seed % 2**31,
            stop=tuple(stop for stop in chat.stops if stop),
        ),
        tools=_tools(chat),
        max_output_tokens=min([*limits, settings.AI_MAX_OUTPUT_TOKENS]),
    )
    tokens = prompt.estimated_tokens()
    if tokens > settings.CONTEXT_MAX_TOKENS:
        raise ContextTooLong(tokens)
    return prompt


class _Conversation:
    """Reads the messages in their order."""

    def __init__(self, chat: ChatInput, user_id: int) -> None:
        self._messages = chat.messages
        self._user_id = user_id
        self._contents: list[Content] = []
        # The functions whose results are missing, by the calls' ids. Some clients give several calls the same id.
        self._awaited: defaultdict[str, deque[str]] = defaultdict(deque)
        ids = [call.id for message in chat.messages for call in getattr(message, "tool_calls", None) or ()]
        self._signatures = read_signatures(user_id, ids)
        self._pictures = 0

    def read(self) -> tuple[str | None, tuple[Content, ...]]:
        """The system instruction and the contents. Raises Invalid."""
        instructions: list[str] = []
        for number, message in enumerate(self._messages):
            field = f"messages[{number}]"
            match message:
                case SystemMessage() | DeveloperMessage():
                    instructions.append(_text(message.content, field))
                case UserMessage():
                    self._require_results()
                    question = self._question(message, field)
                    if question.text or question.pictures:  # the model refuses an empty one
                        self._contents.append(question)
                case AssistantMessage():
                    self._add_answer(message, field)
                case ToolMessage():
                    self._add_result(message, field)
        self._require_results()
        system = "\n\n".join(filter(None, instructions))
        if not self._contents and not system:
            raise Invalid({"body.messages": "No message has a text or a picture."})
        if not self._contents:
            return None, (Content("user", system),)
        return system or None, tuple(self._contents)

    def _question(self, message: UserMessage, field: str) -> Content:
        pictures = tuple(self._read_pictures(message, field))
        return Content("user", _text(message.content, field), pictures)

    def _read_pictures(self, message: UserMessage, field: str) -> Iterable[PromptPicture]:
        for number, part in enumerate(message.content):
            if isinstance(part, ImagePart):
                self._pictures += 1
                if self._pictures > MAX_PICTURES:
                    raise Invalid({"body.messages": f"May have {MAX_PICTURES} pictures at most."})
                image = part.image_url
                url = image if isinstance(image, str) else image.url
                yield read_image_url(url, user_id=self._user_id, field=f"{field}.content[{number}].image_url")

    def _add_answer(self, message: AssistantMessage, field: str) -> None:
        self._require_results()
        text = _text(message.content or "", field)
        calls = tuple(self._call(call, field) for call in message.tool_calls or ())
        if text or calls:
            self._contents.append(Content("model", text, calls=calls))

    def _call(self, call: ToolCall, field: str) -> FunctionCall:
        self._awaited[call.id].append(call.function.name)
        return FunctionCall(call.function.name, _arguments(call, field), self._signatures.get(call.id))

    def _add_result(self, message: ToolMessage, field: str) -> None:
        names = self._awaited.get(message.tool_call_id)
        if not names:
            raise Invalid({f"body.{field}.tool_call_id": "No message just before this one makes this call."})
        result, last = FunctionResult(names.popleft(), _text(message.content, field)), self._contents[-1]
        if last.results:
            self._contents[-1] = replace(last, results=(*last.results, result))
        else:
            self._contents.append(Content("user", "", results=(result,)))

    def _require_results(self) -> None:
        """The model refuses a call whose result is missing."""
        if any(self._awaited.values()):
            raise Invalid({"body.messages": "Each tool call must be followed by one message with its result."})
        self._awaited.clear()


def _text(content: str | list[Any], field: str) -> str:
    """The text parts of a message, joined. Raises Invalid."""
    if not isinstance(content, str):
        texts = [part.text for part in content if isinstance(part, TextPart)]
        content = "\n".join([*texts, *(part.refusal for part in content if isinstance(part, RefusalPart))])
    try:
        content.encode()
    except UnicodeEncodeError:
        raise Invalid({f"body.{field}.content": "Surrogate characters are not allowed."}) from None
    return content


def _arguments(call: ToolCall, field: str) -> dict[str, Any]:
    try:
        arguments = json.loads(call.function.arguments or "{}")
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise Invalid({f"body.{field}.tool_calls": "The arguments of a call must be a JSON object."})
    return arguments


def _response_schema(chat: ChatInput) -> dict[str, Any] | None:
    match chat.response_format:
        case JSONFormat():
            return {}
        case SchemaFormat(json_schema=named):
            return named.schema or {}
    return None


def _tools(chat: ChatInput) -> Tools | None:
    """Raises Invalid."""
    functions = tuple(
        Function(each.function.name, each.function.description, each.function.parameters) for each in chat.tools or ()
    )
    choice = chat.tool_choice
    if isinstance(choice, NamedChoice):
        if choice.function.name not in {each.name for each in functions}:
            raise Invalid({"body.tool_choice": "Names no function of the tools."})
        return Tools(functions, "ANY", allowed=(choice.function.name,))
    if not functions:
        return None
    return Tools(functions, "NONE" if choice == "none" else "ANY" if choice == "required" else "AUTO")
