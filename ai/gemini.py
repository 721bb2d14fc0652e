"""Google's Gemini: the only module that knows google-genai. Whatever it raises becomes one typed error."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
import structlog
from django.conf import settings
from google import genai
from google.genai import errors, types

from ai.call_control import CallCancelled, CallControl, ControlledTransport
from edgechat.errors import ApiError
from usage.ledger import OpenEntry
from usage.tokens import TokenUsage, estimate_tokens

logger = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
# Of each kind of token; the sum of two has to fit into a column of 31 bits.
MAX_COUNT = 2**30 - 1
MODELS_CACHED_SECONDS = 300.0

# Reasons for which Gemini withholds an answer on safety or policy grounds.
BLOCKED_REASONS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "LANGUAGE",
        "OTHER",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
        "JAILBREAK",
    }
)


class ModelError(ApiError):
    """A call to the model failed.

    `permanent`: trying the same again is of no use. `retry_after`: seconds that the model asked us to wait, or None.
    `refused`: the model turned the call down with a status, and charges nothing.
    """

    status, code, detail = 503, "model_unavailable", "The model is not available, please try again"

    def __init__(
        self,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        refused: bool = False,
    ) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
        super().__init__(headers=headers)
        self.permanent = permanent
        self.retry_after = retry_after
        self.refused = refused


class ModelQuotaExceeded(ModelError):
    status, code, detail = 429, "model_quota", "The model's quota is used up, please try again later"


@dataclass(frozen=True)
class PromptPicture:
    """A picture for the model: width and height in pixels, and how to get its bytes and type when the call is made;
    None for one that is gone by then.
    """

    width: int
    height: int
    read: Callable[[], tuple[bytes, str] | None]

    @property
    def tokens(self) -> int:
        """A cautious count by Gemini's rule: 258 for each tile, whose side is two thirds of the shorter side, 256 to
        768 pixels. (https://ai.google.dev/gemini-api/docs/tokens)
        """
        if max(self.width, self.height) <= 384:
            return 258
        tile = min(768, max(256, math.floor(min(self.width, self.height) / 1.5)))
        return 258 * math.ceil(self.width / tile) * math.ceil(self.height / tile)


@dataclass(frozen=True)
class Turn:
    """One turn of what the model is given."""

    role: Literal["user", "model"]
    text: str
    pictures: tuple[PromptPicture, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """All that a call sends. `response_schema` is a JSON schema that the answer must follow."""

    turns: tuple[Turn, ...]
    system_instruction: str | None = None
    response_schema: dict[str, Any] | None = None
    max_output_tokens: int = field(default_factory=lambda: settings.AI_MAX_OUTPUT_TOKENS)

    def estimated_tokens(self) -> int:
        """A cautious estimate of the prompt's tokens."""
        texts = [self.system_instruction or "", *(turn.text for turn in self.turns)]
        if self.response_schema is not None:
            texts.append(json.dumps(self.response_schema, ensure_ascii=False))
        pictures = sum(picture.tokens for turn in self.turns for picture in turn.pictures)
        return pictures + sum(estimate_tokens(text) for text in texts)


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer. `usage` counts the whole call so far; None where the model did not say."""

    text: str
    usage: TokenUsage | None
    finish_reason: str | None
    model: str | None
    blocked: bool


@dataclass(frozen=True)
class Model:
    name: str
    input_token_limit: int
    output_token_limit: int
    vision: bool


def stream_answer(prompt: Prompt, control: CallControl, *, entry: OpenEntry) -> Iterator[Chunk]:
    """Ask the model and yield its answer as it comes. Closing the iterator ends the call.

    `entry` is the call's row in the ledger, which allows it so much output and no more.

    Raises ModelError, and CallCancelled when `control` was cancelled. A safety block raises nothing: it is the
    `finish_reason` of the last chunk.
    """
    finished = False
    try:
        with control.active():
            client = _client()
            answer = client.models.generate_content_stream(
                model=settings.GEMINI_MODEL, contents=_contents(prompt), config=_config(prompt, entry)
            )
        while True:
            # The control is active only while this thread reads: between chunks the caller may do other things.
            with control.active():
                response = next(answer, None)
            if response is None:
                break
            chunk = _chunk(response)
            finished = finished or chunk.finish_reason is not None
            yield chunk
    except (ModelError, CallCancelled):
        raise
    except Exception as error:  # the SDK raises far more than it documents, and all of it means the same to a caller
        if control.cancelled:
            raise CallCancelled from error
        raise _model_error(error) from error
    if control.cancelled:
        raise CallCancelled
    if not finished:
        logger.warning("model_answer_cut", model=settings.GEMINI_MODEL)
        raise ModelError


def list_models() -> list[Model]:
    """The models that can be asked, the configured one first; asked anew every five minutes. Raises ModelError."""
    global _models
    if _models is not None and time.monotonic() < _models[0]:
        return _models[1]
    control = CallControl(timeout=min(30.0, settings.AI_TIMEOUT_SECONDS))
    try:
        with control.active():
            found = [_model(model) for model in _client().models.list() if _generates(model)]
    except ModelError:
        raise
    except Exception as error:  # as above
        raise _model_error(error) from error
    found.sort(key=lambda model: (model.name != settings.GEMINI_MODEL, model.name))
    _models = (time.monotonic() + MODELS_CACHED_SECONDS, found)
    return found


_models: tuple[float, list[Model]] | None = None

_client_lock = threading.Lock()
_client_of_this_process: genai.Client | None = None


def prepare() -> None:
    """Make the client, if there is to be one, which takes a tenth of a second."""
    if settings.GEMINI_API_KEY or settings.GEMINI_BASE_URL:
        _client()


def _client() -> genai.Client:
    """One client in a process, kept for good: a client that nobody holds closes in the middle of a call."""
    global _client_of_this_process
    if not (settings.GEMINI_API_KEY or settings.GEMINI_BASE_URL):
        raise ModelError(permanent=True)
    if _client_of_this_process is None:
        with _client_lock:
            if _client_of_this_process is None:
                timeout = httpx2.Timeout(settings.AI_TIMEOUT_SECONDS, connect=CONNECT_SECONDS, pool=None)
                http_client = httpx2.Client(transport=ControlledTransport(), timeout=timeout, trust_env=False)
                _client_of_this_process = genai.Client(
                    # A server of one's own, reached by its base URL, needs no key, but the SDK insists on one.
                    api_key=settings.GEMINI_API_KEY or "none",
                    vertexai=False,
                    http_options=types.HttpOptions(
                        base_url=settings.GEMINI_BASE_URL or None,
                        httpx_client=http_client,
                        timeout=int(settings.AI_TIMEOUT_SECONDS * 1000),
                    ),
                )
    return _client_of_this_process


def _contents(prompt: Prompt) -> list[types.Content]:
    return [
        types.Content(role=turn.role, parts=[*_pictures(turn), types.Part(text=turn.text)]) for turn in prompt.turns
    ]


def _pictures(turn: Turn) -> Iterator[types.Part]:
    for picture in turn.pictures:
        found = picture.read()
        if found is not None:
            data, mime_type = found
            yield types.Part.from_bytes(data=data, mime_type=mime_type)


def _config(prompt: Prompt, entry: OpenEntry) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(
        system_instruction=prompt.system_instruction or None,
        max_output_tokens=entry.max_output_tokens,
        response_mime_type="application/json" if prompt.response_schema is not None else None,
        response_json_schema=prompt.response_schema,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )


def _chunk(response: types.GenerateContentResponse) -> Chunk:
    candidate = response.candidates[0] if response.candidates else None
    feedback = response.prompt_feedback
    reason: Any = candidate.finish_reason if candidate else None
    prompt_blocked = feedback is not None and feedback.block_reason is not None
    if reason is None and feedback is not None:
        reason = feedback.block_reason
    parts = candidate.content.parts if candidate and candidate.content and candidate.content.parts else []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    return Chunk(
        # Half of a surrogate pair, which JSON can hold, no store and no stream can.
        text=text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
        usage=_usage(response.usage_metadata),
        finish_reason=str(getattr(reason, "value", reason)) if reason is not None else None,
        model=response.model_version,
        blocked=prompt_blocked or str(getattr(reason, "value", reason)) in BLOCKED_REASONS,
    )


def _usage(metadata: types.GenerateContentResponseUsageMetadata | None) -> TokenUsage | None:
    """Gemini's counts are cumulative, and its candidates exclude thoughts."""
    if metadata is None or metadata.prompt_token_count is None:
        return None
    thinking = _count(metadata.thoughts_token_count)
    return TokenUsage(
        input_tokens=_count(metadata.prompt_token_count),
        output_tokens=_count(metadata.candidates_token_count) + thinking,
        cached_tokens=_count(metadata.cached_content_token_count),
        thinking_tokens=thinking,
    )


def _count(tokens: int | None) -> int:
    """A count that the ledger can hold, whatever the model says: a call has to be settled."""
    return min(max(tokens or 0, 0), MAX_COUNT)


def _generates(model: types.Model) -> bool:
    return "generateContent" in (model.supported_actions or [])


def _model(model: types.Model) -> Model:
    name = (model.name or "").removeprefix("models/")
    return Model(
        name=name,
        input_token_limit=model.input_token_limit or 0,
        output_token_limit=model.output_token_limit or 0,
        # Gemini's API does not say which models see; of those that generate, Gemini's own do, and ours reads text.
        vision=name.startswith(("gemini-", "local-")),
    )


def _model_error(error: Exception) -> ModelError:
    """The SDK's many exceptions as one. Their texts are logged, and never sent to a client."""
    logger.warning("model_call_failed", model=settings.GEMINI_MODEL, reason=repr(error)[:500])
    if isinstance(error, errors.APIError):
        if error.code == 429:
            delay = _retry_delay(error.details)
            return ModelQuotaExceeded(retry_after=30.0 if delay is None else delay, refused=True)
        return ModelError(permanent=400 <= (error.code or 0) < 500, refused=True)
    return ModelError()


def _retry_delay(details: Any) -> float | None:
    """Seconds from google.rpc.RetryInfo in an error body, or None."""
    body = details.get("error", details) if isinstance(details, dict) else {}
    for detail in body.get("details") or [] if isinstance(body, dict) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        match = re.fullmatch(r"(\d+(?:\.\d+)?)s", delay) if isinstance(delay, str) else None
        if match:
            return float(match[1])
    return None
