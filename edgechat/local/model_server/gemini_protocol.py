"""Gemini's REST as Python values: calls, answers and faults.

Source: https://ai.google.dev/api/generate-content, /api/tokens, /api/models.
"""

import base64
import binascii
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from edgechat.local.model_server.http import Exchange, encode_json

MODEL_PATH = re.compile(r"^/(?:v1|v1beta)/models(?:/(?P<model>[^:]+?)(?::(?P<action>\w+))?)?/?$")

STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    431: "INVALID_ARGUMENT",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class GeminiError(Exception):
    """A fault to answer in Gemini's shape, with an HTTP status and optional google.rpc details and headers."""

    def __init__(
        self,
        code: int,
        message: str,
        details: list[dict[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details or []
        self.headers = headers

    def body(self) -> bytes:
        return error_body(self.code, str(self), self.details)


def error_body(code: int, message: str, details: list[dict[str, Any]] | None = None) -> bytes:
    """`{"error": {"code", "message", "status", "details"?}}`."""
    error: dict[str, Any] = {"code": code, "message": message, "status": STATUS_NAMES.get(code, "UNKNOWN")}
    if details:
        error["details"] = details
    return encode_json({"error": error})


@dataclass(slots=True)
class Picture:
    """An inlineData part; `data` is decoded."""

    mime_type: str
    data: bytes


@dataclass(slots=True)
class Turn:
    """One of the contents: `role` is "user" or "model"; `text` is its text parts joined."""

    role: str
    text: str
    pictures: list[Picture] = field(default_factory=list)


@dataclass(slots=True)
class GenerationConfig:
    """The supported part of generationConfig. None means "not given".

    `json_schema` is None unless the call asks for JSON.
    """

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop_sequences: list[str] = field(default_factory=list)
    json_schema: dict[str, Any] | None = None


@dataclass(slots=True)
class ModelCall:
    """A generateContent, streamGenerateContent or countTokens call."""

    model: str
    action: str
    sse: bool
    turns: list[Turn]
    system_instruction: str
    config: GenerationConfig

    @property
    def streaming(self) -> bool:
        return self.action == "streamGenerateContent"

    @property
    def last_user_turn(self) -> Turn:
        """The latest turn of the user; an empty turn when there is none."""
        return next((turn for turn in reversed(self.turns) if turn.role == "user"), Turn("user", ""))


def parse_call(model: str, action: str, sse: bool, body: bytes) -> ModelCall:
    """Raises GeminiError 400 for calls that Gemini refuses too."""
    try:
        payload = json.loads(body)
    except ValueError as fault:
        raise GeminiError(400, "Invalid JSON payload received.") from fault
    if not isinstance(payload, dict):
        raise GeminiError(400, "Invalid JSON payload received. Expected an object.")
    if action == "countTokens" and isinstance(payload.get("generateContentRequest"), dict):
        payload = payload["generateContentRequest"]
    contents = payload.get("contents")
    if isinstance(contents, dict):
        contents = [contents]
    if not isinstance(contents, list) or not contents:
        raise GeminiError(400, "* GenerateContentRequest.contents: contents is not specified")
    turns = [parse_turn(content, f"contents[{index}]") for index, content in enumerate(contents)]
    system = payload.get("systemInstruction", payload.get("system_instruction"))
    return ModelCall(
        model=model,
        action=action,
        sse=sse,
        turns=turns,
        system_instruction=parse_turn(system, "system_instruction").text if system else "",
        config=parse_config(payload.get("generationConfig", payload.get("generation_config"))),
    )


def parse_turn(content: Any, where: str) -> Turn:
    if not isinstance(content, dict):
        raise GeminiError(400, f"Invalid value at '{where}'. Expected a Content.")
    role = content.get("role") or "user"
    if role not in ("user", "model", "system", "function"):
        raise GeminiError(400, "Please use a valid role: user, model.")
    parts = content.get("parts", [])
    if isinstance(parts, dict):
        parts = [parts]
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise GeminiError(400, f"Invalid value at '{where}.parts'. Expected a list of Part.")
    turn = Turn("model" if role == "model" else "user", "")
    texts: list[str] = []
    for part in parts:
        inline = part.get("inlineData", part.get("inline_data"))
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(inline, dict):
            turn.pictures.append(parse_picture(inline, where))
        else:
            raise GeminiError(400, f"The local model reads text and inlineData parts only (at '{where}.parts').")
    turn.text = "\n".join(texts)
    return turn


def parse_picture(inline: dict[str, Any], where: str) -> Picture:
    mime_type = inline.get("mimeType", inline.get("mime_type"))
    encoded = inline.get("data")
    if not isinstance(mime_type, str) or not isinstance(encoded, str):
        raise GeminiError(400, f"Invalid value at '{where}.parts'. inlineData needs mimeType and data.")
    try:
        # The SDK writes URL-safe base64, other clients the standard alphabet. Padding may be absent.
        plain = encoded.replace("-", "+").replace("_", "/").rstrip("=")
        return Picture(mime_type, base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True))
    except (binascii.Error, ValueError) as fault:
        raise GeminiError(400, f"Invalid value at '{where}.parts'. Base64 decoding failed.") from fault


def parse_config(payload: Any) -> GenerationConfig:
    if payload is None:
        return GenerationConfig()
    if not isinstance(payload, dict):
        raise GeminiError(400, "Invalid value at 'generation_config'. Expected an object.")
    limit = number(payload, "maxOutputTokens", low=1, high=2**31)
    top_k = number(payload, "topK", low=1, high=2**31)
    seed = number(payload, "seed", low=-(2**31), high=2**32)
    stops = payload.get("stopSequences", [])
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise GeminiError(400, "Invalid value at 'generation_config.stop_sequences'.")
    return GenerationConfig(
        max_output_tokens=None if limit is None else int(limit),
        temperature=number(payload, "temperature", low=0, high=2),
        top_p=number(payload, "topP", low=0, high=1),
        top_k=None if top_k is None else int(top_k),
        seed=None if seed is None else int(seed),
        stop_sequences=[stop for stop in stops if stop],
        json_schema=parse_schema(payload),
    )


def number(payload: dict[str, Any], name: str, *, low: float, high: float) -> float | None:
    value = payload.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise GeminiError(400, f"Invalid value at 'generation_config.{name}': it must be from {low} to {high}.")
    return value


def parse_schema(payload: dict[str, Any]) -> dict[str, Any] | None:
    """The answer's JSON Schema; `{}` for any JSON, None if the call does not ask for JSON."""
    plain = payload.get("responseJsonSchema", payload.get("_responseJsonSchema"))
    schema = plain if plain is not None else payload.get("responseSchema")
    if schema is not None and not isinstance(schema, dict):
        raise GeminiError(400, "Invalid value at 'generation_config.response_schema'. Expected an object.")
    if payload.get("responseMimeType") != "application/json":
        if schema is not None:
            raise GeminiError(
                400, "Function calling config or response_schema needs response_mime_type application/json."
            )
        return None
    if schema is None:
        return {}
    return plain if plain is not None else to_json_schema(schema)


def to_json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Convert Gemini's schema (an OpenAPI subset, types in capitals, `nullable`) to JSON Schema."""
    out: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "type" and isinstance(value, str):
            out["type"] = value.lower()
        elif name in ("items", "additionalProperties") and isinstance(value, dict):
            out[name] = to_json_schema(value)
        elif name == "properties" and isinstance(value, dict):
            order = [key for key in schema.get("propertyOrdering", []) if key in value]
            keys = order + [key for key in value if key not in order]
            out["properties"] = {key: to_json_schema(value[key]) for key in keys}
        elif name == "anyOf" and isinstance(value, list):
            out["anyOf"] = [to_json_schema(option) for option in value]
        elif name in ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"):
            out[name] = int(value)  # protobuf's JSON has int64 as a string
        elif name not in ("nullable", "propertyOrdering"):
            out[name] = value
    if schema.get("nullable"):
        return {"anyOf": [out, {"type": "null"}]}
    return out


@dataclass(slots=True)
class Usage:
    """Token counts so far, all cumulative within an answer."""

    prompt: int
    candidates: int = 0
    thoughts: int = 0
    cached: int = 0
    tools: int = 0

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"promptTokenCount": self.prompt}
        if self.candidates:
            out["candidatesTokenCount"] = self.candidates
        if self.thoughts:
            out["thoughtsTokenCount"] = self.thoughts
        if self.cached:
            out["cachedContentTokenCount"] = self.cached
        if self.tools:
            out["toolUsePromptTokenCount"] = self.tools
        out["totalTokenCount"] = self.prompt + self.candidates + self.thoughts + self.tools
        return out


def new_response_id() -> str:
    return secrets.token_urlsafe(16)


def answer_part(
    *, text: str | None, finish_reason: str | None, usage: Usage | None, model_version: str, response_id: str
) -> dict[str, Any]:
    """A GenerateContentResponse, whole or a chunk of a stream. With `text` None the content has no parts."""
    content: dict[str, Any] = {"role": "model"}
    if text is not None:
        content["parts"] = [{"text": text}]
    candidate: dict[str, Any] = {"content": content, "index": 0}
    if finish_reason is not None:
        candidate["finishReason"] = finish_reason
    response: dict[str, Any] = {"candidates": [candidate]}
    if usage is not None:
        response["usageMetadata"] = usage.to_json()
    response["modelVersion"] = model_version
    response["responseId"] = response_id
    return response


class StreamWriter:
    """Writes the answer of streamGenerateContent: server-sent events, or a JSON list without `alt=sse`."""

    def __init__(self, exchange: Exchange, sse: bool) -> None:
        self._exchange = exchange
        self._sse = sse
        self._opened = False
        self._separator = b"["

    def send(self, response: dict[str, Any]) -> None:
        self.send_raw(encode_json(response))

    def send_raw(self, body: bytes) -> None:
        self.open()
        if self._sse:
            self._exchange.write(b"data: " + body + b"\r\n\r\n")
        else:
            self._exchange.write(self._separator + body)
            self._separator = b",\r\n"

    def send_line(self, line: bytes) -> None:
        """Send a line that is no event, unchanged."""
        self.open()
        self._exchange.write(line + b"\r\n\r\n")

    def open(self) -> None:
        if not self._opened:
            self._opened = True
            self._exchange.begin(200, "text/event-stream" if self._sse else "application/json; charset=UTF-8")

    def end(self) -> None:
        self.open()
        if not self._sse:
            self._exchange.write(b"[]" if self._separator == b"[" else b"]")


@dataclass(slots=True, frozen=True)
class ModelCard:
    """The one model that is served, for any model name in a call."""

    name: str
    display_name: str
    description: str
    input_token_limit: int
    output_token_limit: int

    def to_json(self) -> dict[str, Any]:
        return {
            "name": f"models/{self.name}",
            "version": "local",
            "displayName": self.display_name,
            "description": self.description,
            "inputTokenLimit": self.input_token_limit,
            "outputTokenLimit": self.output_token_limit,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
            "temperature": 1,
            "maxTemperature": 2,
            "topP": 0.95,
            "topK": 64,
        }
