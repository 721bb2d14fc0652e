"""Gemini's REST as Python values: calls, answers and faults.

Source: https://ai.google.dev/api/generate-content, /api/tokens, /api/models.
"""

import base64
import binascii
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edgechat.local.model_server.http import Responder, encode_json

MODEL_PATH = re.compile(r"^/(?:v1|v1beta)/models(?:/(?P<model>[^:]+?)(?::(?P<action>\w+))?)?/?$")

ACTIONS = ("generateContent", "streamGenerateContent", "countTokens")
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
class Content:
    """One of the contents: `role` is "user" or "model"; `text` is its text parts and functions' results joined."""

    role: str
    text: str
    pictures: list[Picture] = field(default_factory=list)


class GenerationConfig(msgspec.Struct, rename="camel"):
    """The supported part of generationConfig. None means "not given"."""

    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**31), le=2**32)] | None = None
    stop_sequences: list[str] = []
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The answer's JSON Schema; `{}` for any JSON, None if the call does not ask for JSON."""
        if self.response_mime_type != "application/json":
            return None
        if self.response_json_schema is not None:
            return self.response_json_schema
        return to_json_schema(self.response_schema or {})


@dataclass(slots=True)
class ModelCall:
    """A generateContent, streamGenerateContent or countTokens call."""

    model: str
    action: str
    sse: bool
    contents: list[Content]
    system_instruction: str
    config: GenerationConfig

    @property
    def streaming(self) -> bool:
        return self.action == "streamGenerateContent"

    @property
    def last_user_content(self) -> Content:
        """The latest content of the user; an empty content when there is none."""
        return next((content for content in reversed(self.contents) if content.role == "user"), Content("user", ""))


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
    given = payload.get("contents")
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list) or not given:
        raise GeminiError(400, "* GenerateContentRequest.contents: contents is not specified")
    system = payload.get("systemInstruction", payload.get("system_instruction"))
    return ModelCall(
        model=model,
        action=action,
        sse=sse,
        contents=[parse_content(content, f"contents[{index}]") for index, content in enumerate(given)],
        system_instruction=parse_content(system, "system_instruction").text if system else "",
        config=parse_config(payload.get("generationConfig", payload.get("generation_config"))),
    )


def parse_content(given: Any, path: str) -> Content:
    if not isinstance(given, dict):
        raise GeminiError(400, f"Invalid value at '{path}'. Expected a Content.")
    role = given.get("role") or "user"
    if role not in ("user", "model", "system", "function"):
        raise GeminiError(400, "Please use a valid role: user, model.")
    parts = given.get("parts", [])
    if isinstance(parts, dict):
        parts = [parts]
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise GeminiError(400, f"Invalid value at '{path}.parts'. Expected a list of Part.")
    texts: list[str] = []
    require_signature(parts)
    pictures: list[Picture] = []
    for part in parts:
        inline = part.get("inlineData", part.get("inline_data"))
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part.get("functionResponse"), dict):
            texts.append(json.dumps(part["functionResponse"].get("response"), ensure_ascii=False))
        elif isinstance(part.get("functionCall"), dict):
            pass
        elif isinstance(inline, dict):
            pictures.append(parse_picture(inline, path))
        else:
            raise GeminiError(
                400, f"The local model reads text, inlineData and function parts only (at '{path}.parts')."
            )
    return Content("model" if role == "model" else "user", "\n".join(texts), pictures)


def require_signature(parts: list[dict[str, Any]]) -> None:
    """Raise GeminiError 400 for function calls without the thought signature of the first, as Gemini 3 does."""
    calls = [part for part in parts if "functionCall" in part]
    if calls and not calls[0].get("thoughtSignature"):
        raise GeminiError(400, "Function call is missing a thought_signature in functionCall parts.")


def parse_picture(inline: dict[str, Any], path: str) -> Picture:
    mime_type = inline.get("mimeType", inline.get("mime_type"))
    encoded = inline.get("data")
    if not isinstance(mime_type, str) or not isinstance(encoded, str):
        raise GeminiError(400, f"Invalid value at '{path}.parts'. inlineData needs mimeType and data.")
    try:
        # The SDK writes URL-safe base64, other clients the standard alphabet. Padding may be absent.
        plain = encoded.replace("-", "+").replace("_", "/").rstrip("=")
        return Picture(mime_type, base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True))
    except (binascii.Error, ValueError) as fault:
        raise GeminiError(400, f"Invalid value at '{path}.parts'. Base64 decoding failed.") from fault


def parse_config(payload: Any) -> GenerationConfig:
    if isinstance(payload, dict) and "_responseJsonSchema" in payload:  # the SDK's name of it
        payload = {"responseJsonSchema": payload["_responseJsonSchema"], **payload}
    try:
        config = msgspec.convert(payload or {}, GenerationConfig, strict=False)
    except msgspec.ValidationError as fault:
        raise GeminiError(400, f"Invalid value at 'generation_config'. {fault}.") from fault
    has_schema = config.response_schema is not None or config.response_json_schema is not None
    if has_schema and config.json_schema is None:
        raise GeminiError(400, "Function calling config or response_schema needs response_mime_type application/json.")
    return config


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
        counts = {
            "candidatesTokenCount": self.candidates,
            "thoughtsTokenCount": self.thoughts,
            "cachedContentTokenCount": self.cached,
            "toolUsePromptTokenCount": self.tools,
        }
        total = self.prompt + self.candidates + self.thoughts + self.tools
        given = {name: count for name, count in counts.items() if count}
        return {"promptTokenCount": self.prompt, **given, "totalTokenCount": total}


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

    def __init__(self, responder: Responder, sse: bool) -> None:
        self._responder = responder
        self._sse = sse
        self._opened = False
        self._separator = b"["

    def send(self, response: dict[str, Any]) -> None:
        self.send_raw(encode_json(response))

    def send_raw(self, body: bytes) -> None:
        self.open()
        if self._sse:
            self._responder.write(b"data: " + body + b"\r\n\r\n")
        else:
            self._responder.write(self._separator + body)
            self._separator = b",\r\n"

    def send_line(self, line: bytes) -> None:
        """Send a line that is no event, unchanged."""
        self.open()
        self._responder.write(line + b"\r\n\r\n")

    def open(self) -> None:
        if not self._opened:
            self._opened = True
            self._responder.begin(200, "text/event-stream" if self._sse else "application/json; charset=UTF-8")

    def end(self) -> None:
        self.open()
        if not self._sse:
            self._responder.write(b"[]" if self._separator == b"[" else b"]")


class ModelCard(msgspec.Struct, frozen=True, rename="camel"):
    """The one model that is served, for any model name in a call."""

    name: str
    display_name: str
    description: str
    input_token_limit: int
    output_token_limit: int
    version: str = "local"
    supported_generation_methods: tuple[str, ...] = ACTIONS
    temperature: float = 1
    max_temperature: float = 2
    top_p: float = 0.95
    top_k: int = 64

    def to_json(self) -> dict[str, Any]:
        return {**msgspec.to_builtins(self), "name": f"models/{self.name}"}
