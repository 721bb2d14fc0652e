"""A prompt as Gemini's own JSON, which the SDK adds to the body of a request.

The SDK takes 0.15 ms to convert a content of its own types: 30 ms for a conversation of 200 messages, 1.5 ms in this
way.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from ai.gemini.prompts import Content, Prompt, Sampling, Tools

# Takes the place of a signature that is not known any more, or never was: the call came from another model.
# (https://ai.google.dev/gemini-api/docs/thought-signatures)
NO_SIGNATURE = b"skip_thought_signature_validator"


def request_json(prompt: Prompt) -> dict[str, Any]:
    """The contents, and the parts of the configuration that only some prompts have."""
    body: dict[str, Any] = {"contents": contents_json(prompt)}
    generation = {} if prompt.sampling is None else _sampling(prompt.sampling)
    if prompt.response_schema is not None:
        # In its own field, it makes the SDK parse each chunk, which fails for deep lists and for long numbers.
        generation["responseMimeType"] = "application/json"
        if prompt.response_schema:
            generation["responseJsonSchema"] = prompt.response_schema
    if generation:
        body["generationConfig"] = generation
    if prompt.tools is not None:
        body |= _tools(prompt.tools)
    return body


def contents_json(prompt: Prompt) -> list[dict[str, Any]]:
    return [{"role": content.role, "parts": list(_parts(content))} for content in prompt.contents]


def _parts(content: Content) -> Iterator[dict[str, Any]]:
    pictures = list(_pictures(content))
    yield from pictures
    # The model refuses an empty text, and a content without parts.
    if content.text or not (pictures or content.calls or content.results):
        yield {"text": content.text}
    # The model signs one call of each message, and refuses a message without a signature or its placeholder.
    unsigned = None if any(call.signature for call in content.calls) else NO_SIGNATURE
    for call in content.calls:
        part: dict[str, Any] = {"functionCall": {"name": call.name, "args": call.arguments}}
        if signature := call.signature or unsigned:
            part["thoughtSignature"] = _base64(signature)
            unsigned = None
        yield part
    for result in content.results:
        yield {"functionResponse": {"name": result.name, "response": {"result": result.text}}}


def _pictures(content: Content) -> Iterator[dict[str, Any]]:
    for picture in content.pictures:
        found = picture.read()
        if found is not None:
            data, mime_type = found
            yield {"inlineData": {"data": _base64(data), "mimeType": mime_type}}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _sampling(sampling: Sampling) -> dict[str, Any]:
    given = {"temperature": sampling.temperature, "topP": sampling.top_p, "seed": sampling.seed}
    stops = {"stopSequences": list(sampling.stop)} if sampling.stop else {}
    return {name: value for name, value in given.items() if value is not None} | stops


def _tools(tools: Tools) -> dict[str, Any]:
    functions = [
        {"name": each.name, "description": each.description or each.name}
        | ({"parametersJsonSchema": each.parameters} if each.parameters else {})
        for each in tools.functions
    ]
    calling: dict[str, Any] = {"mode": tools.mode}
    if tools.allowed:
        calling["allowedFunctionNames"] = list(tools.allowed)
    return {"tools": [{"functionDeclarations": functions}], "toolConfig": {"functionCallingConfig": calling}}
