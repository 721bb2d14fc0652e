"""Google's Gemini: the only module that uses google-genai. Every exception of the SDK becomes a ModelError."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import httpx2
import structlog
from django.conf import settings
from django.utils import timezone
from django.utils.http import parse_http_date_safe

from ai.gemini.call_control import CallCancelled, CallControl, ControlledTransport
from ai.serializers import ModelOutput
from edgechat.errors import ApiError
from edgechat.processes.threads import waiting
from usage.ledger.tokens import TokenUsage, estimate_tokens

if TYPE_CHECKING:
    from google import genai
    from google.genai import errors, types

logger = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
# For each kind of token; the sum of two must fit into a column of 31 bits.
MAX_COUNT = 2**30 - 1
MODELS_CACHED_SECONDS = 300.0

# How long to read, after the finish reason, for the rest of the connection or its end.
AFTER_END_SECONDS = 2.0
# The finish reason of a complete answer; every other one is a failure or a limit.
COMPLETE = "STOP"
# Reasons for which Gemini withholds an answer on safety grounds. Any other end without text is a failure.
BLOCKED_REASONS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "MODEL_ARMOR",
        "JAILBREAK",
    }
)
# The suffix of enum values that stand for no reason.
NO_REASON = "_UNSPECIFIED"
MAX_RETRY_SECONDS = 86_400.0


class ModelError(ApiError):
    """A call to the model failed.

    `permanent`: a retry of the same request cannot succeed. `retry_after`: seconds that the model asked to wait, or
    None. `refused`: the model rejected the call with a status and charges nothing.
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


class ModelOutputInvalid(ModelError):
    """The model answered, but the answer is unusable."""

    code, detail = "model_output_invalid", "The model's answer cannot be used, please try again"


class ModelQuotaExceeded(ModelError):
    status, code, detail = 429, "model_quota", "The model's quota is used up, please try again later"


@dataclass(frozen=True)
class PromptPicture:
    """A picture for the model: width and height in pixels, and a function for its bytes and type when the call is made.

    The function returns None if the picture has been deleted.
    """

    width: int
    height: int
    read: Callable[[], tuple[bytes, str] | None]

    @property
    def tokens(self) -> int:
        """A cautious count by Gemini's rule: 258 for each tile. A tile's side is two thirds of the shorter side, within
        256 to 768 pixels. (https://ai.google.dev/gemini-api/docs/tokens)
        """
        if max(self.width, self.height) <= 384:
            return 258
        tile = min(768, max(256, math.floor(min(self.width, self.height) / 1.5)))
        return 258 * math.ceil(self.width / tile) * math.ceil(self.height / tile)


@dataclass(frozen=True)
class Turn:
    """One turn of the prompt."""

    role: Literal["user", "model"]
    text: str
    pictures: tuple[PromptPicture, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """Everything that a call sends. `response_schema` is a JSON schema that the answer must follow."""

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
    """A piece of an answer. `usage` counts the whole call so far; None if the chunk has no counts."""

    text: str
    usage: TokenUsage | None
    finish_reason: str | None
    model: str | None
    blocked: bool


def stream_answer(prompt: Prompt, control: CallControl, *, max_output_tokens: int) -> Iterator[Chunk]:
    """Ask the model and yield its answer as it arrives. Closing the iterator ends the call.

    `max_output_tokens`: the limit of this call, which can be lower than the prompt's.

    Raises ModelError, and CallCancelled if `control` was cancelled. A safety block raises nothing: it is the
    `finish_reason` of the last chunk. After the model has sent the finish reason, connection errors raise nothing.
    """
    begun = finished = False
    try:
        with waiting(), control.active():
            client = _client()
            answer = client.models.generate_content_stream(
                model=settings.GEMINI_MODEL, contents=_contents(prompt), config=_config(prompt, max_output_tokens)
            )
        while True:
            # The control is active only while this thread reads: between chunks the caller may do other work.
            with waiting(), control.active():
                response = next(answer, None)
            if response is None:
                break
            chunk = _chunk(response)
            begun = True
            yield chunk
            if chunk.finish_reason is not None and not finished:
                finished = True
                control.deadline = min(control.deadline, time.monotonic() + AFTER_END_SECONDS)
    except (ModelError, CallCancelled):
        raise
    except Exception as error:  # the SDK raises many undocumented types; they all mean the same to a caller
        if control.cancelled:
            raise CallCancelled from error
        if not finished:
            raise _model_error(error, begun=begun) from error
        logger.warning("model_broke_off_after_its_answer", model=settings.GEMINI_MODEL, reason=repr(error)[:500])
    if control.cancelled:
        raise CallCancelled
    if not finished:
        logger.warning("model_answer_cut", model=settings.GEMINI_MODEL)
        raise ModelError


def count_tokens(prompt: Prompt, control: CallControl) -> int:
    """The model's count of the tokens in a prompt's turns, which is free of charge. Raises ModelError."""
    try:
        with control.active():
            counted = _client().models.count_tokens(model=settings.GEMINI_MODEL, contents=_contents(prompt))
    except ModelError:
        raise
    except Exception as error:  # as above
        raise _model_error(error) from error
    return _count(counted.total_tokens)


def list_models() -> list[ModelOutput]:
    """The available models, the configured one first; the list is refreshed every five minutes. Raises ModelError."""
    global _models
    if _models is not None and time.monotonic() < _models[0]:
        return _models[1]
    control = CallControl(timeout=min(30.0, settings.AI_TIMEOUT_SECONDS))
    try:
        with waiting(), control.active():
            found = [_model(model) for model in _client().models.list() if _generates(model)]
    except ModelError:
        raise
    except Exception as error:  # as above
        raise _model_error(error) from error
    found.sort(key=lambda model: (model["name"] != settings.GEMINI_MODEL, model["name"]))
    _models = (time.monotonic() + MODELS_CACHED_SECONDS, found)
    return found


_models: tuple[float, list[ModelOutput]] | None = None

_client_lock = threading.Lock()
_client_of_this_process: genai.Client | None = None


def load_sdk() -> None:
    """Import google-genai. It takes as long as all of Django, and most commands never call the model."""
    import google.genai  # noqa: F401


def prepare() -> None:
    """Create the client if it will be needed; this takes a tenth of a second."""
    if settings.GEMINI_API_KEY or settings.GEMINI_BASE_URL:
        _client()


def _client() -> genai.Client:
    """The one client of a process. It stays referenced: an unreferenced client closes itself during a call."""
    global _client_of_this_process
    if not (settings.GEMINI_API_KEY or settings.GEMINI_BASE_URL):
        raise ModelError(permanent=True)
    from google import genai
    from google.genai import types

    if _client_of_this_process is None:
        with _client_lock:
            if _client_of_this_process is None:
                timeout = httpx2.Timeout(settings.AI_TIMEOUT_SECONDS, connect=CONNECT_SECONDS, pool=None)
                http_client = httpx2.Client(transport=ControlledTransport(), timeout=timeout, trust_env=False)
                _client_of_this_process = genai.Client(
                    # A self-hosted server at a base URL needs no key, but the SDK requires one.
                    api_key=settings.GEMINI_API_KEY or "none",
                    vertexai=False,
                    http_options=types.HttpOptions(
                        base_url=settings.GEMINI_BASE_URL or None,
                        api_version=settings.GEMINI_API_VERSION or None,
                        httpx_client=http_client,
                        timeout=int(settings.AI_TIMEOUT_SECONDS * 1000),
                    ),
                )
    return _client_of_this_process


def _contents(prompt: Prompt) -> list[types.Content]:
    from google.genai import types

    return [
        types.Content(role=turn.role, parts=[*_pictures(turn), types.Part(text=turn.text)]) for turn in prompt.turns
    ]


def _pictures(turn: Turn) -> Iterator[types.Part]:
    from google.genai import types

    for picture in turn.pictures:
        found = picture.read()
        if found is not None:
            data, mime_type = found
            yield types.Part.from_bytes(data=data, mime_type=mime_type)


def _config(prompt: Prompt, max_output_tokens: int) -> types.GenerateContentConfig:
    from google.genai import types

    return types.GenerateContentConfig(
        system_instruction=prompt.system_instruction or None,
        max_output_tokens=max_output_tokens,
        response_mime_type="application/json" if prompt.response_schema is not None else None,
        response_json_schema=prompt.response_schema,
        # One call must be one request: only one request's cost is reserved.
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,
    )


def _chunk(response: types.GenerateContentResponse) -> Chunk:
    # Only one candidate is requested. If there are several, the first one counts, in whichever chunk it arrives.
    candidate = next((each for each in response.candidates or [] if not each.index), None)
    feedback = response.prompt_feedback
    reason = _word(candidate.finish_reason if candidate else None)
    block_reason = _word(feedback.block_reason if feedback else None)
    if reason is not None and reason.endswith(NO_REASON):
        reason = None
    if block_reason is not None and block_reason.endswith(NO_REASON) and response.candidates:
        block_reason = None
    parts = candidate.content.parts if candidate and candidate.content and candidate.content.parts else []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    return Chunk(
        # JSON can hold a lone surrogate; the stores and streams cannot.
        text=text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
        usage=_usage(response.usage_metadata),
        finish_reason=block_reason or reason,
        model=_model_version(response.model_version),
        blocked=block_reason is not None or reason in BLOCKED_REASONS,
    )


def _word(reason: Any) -> str | None:
    """The name of a reason, including reasons that the SDK does not know."""
    if reason is None:
        return None
    return re.sub(r"[^A-Za-z0-9_]", "", str(getattr(reason, "value", reason)))[:100] or "UNKNOWN"


def _model_version(name: str | None) -> str | None:
    """The name of the model that answered, without `models/`; None for an invalid name."""
    name = (name or "").rpartition("/")[2]
    return name if re.fullmatch(r"[A-Za-z0-9._@-]{1,100}", name) else None


def _usage(metadata: types.GenerateContentResponseUsageMetadata | None) -> TokenUsage | None:
    """Gemini's counts are cumulative. Candidates exclude thoughts, and the prompt excludes what tools added."""
    if metadata is None or metadata.prompt_token_count is None:
        return None
    thinking = _count(metadata.thoughts_token_count)
    return TokenUsage(
        input_tokens=_count(_count(metadata.prompt_token_count) + _count(metadata.tool_use_prompt_token_count)),
        output_tokens=_count(metadata.candidates_token_count) + thinking,
        cached_tokens=_count(metadata.cached_content_token_count),
        thinking_tokens=thinking,
    )


def _count(tokens: int | None) -> int:
    """A count that fits the ledger, whatever the model reports: each call has to be settled."""
    return min(max(tokens or 0, 0), MAX_COUNT)


def _generates(model: types.Model) -> bool:
    return "generateContent" in (model.supported_actions or [])


def _model(model: types.Model) -> ModelOutput:
    name = (model.name or "").removeprefix("models/")
    return ModelOutput(
        name=name,
        input_token_limit=model.input_token_limit or 0,
        output_token_limit=model.output_token_limit or 0,
        # Gemini's API does not report which models accept pictures. Gemini's own models do; the local one reads text.
        vision=name.startswith(("gemini-", "local-")),
    )


def _model_error(error: Exception, *, begun: bool = False) -> ModelError:
    """One error for the SDK's many exceptions. Their texts are logged and never sent to a client.

    `begun`: part of the answer had arrived, so the model charges for its work.
    """
    from google.genai import errors

    logger.warning("model_call_failed", model=settings.GEMINI_MODEL, reason=repr(error)[:500])
    if isinstance(error, errors.APIError):
        delay = _retry_delay(error)
        if error.code == 429:
            return ModelQuotaExceeded(retry_after=30.0 if delay is None else delay, refused=not begun)
        return ModelError(permanent=400 <= (error.code or 0) < 500, retry_after=delay, refused=not begun)
    return ModelError()


def _retry_delay(error: errors.APIError) -> float | None:
    """Seconds that the model asked to wait, a day at most, or None.

    The longer of google.rpc.RetryInfo in the body and the header Retry-After.
    """
    details = error.details
    body = details.get("error", details) if isinstance(details, dict) else {}
    told = body.get("details") if isinstance(body, dict) else None
    told = told if isinstance(told, list) else []
    delays = [_duration(detail.get("retryDelay")) for detail in told if isinstance(detail, dict)]
    headers = getattr(error.response, "headers", None) or {}
    delays.append(_seconds_until(headers.get("retry-after")))
    return max((min(delay, MAX_RETRY_SECONDS) for delay in delays if delay is not None), default=None)


_SECONDS = r"[0-9]{1,1000}(?:\.[0-9]{1,1000})?"


def _duration(text: Any) -> float | None:
    """The seconds of a google.protobuf.Duration in JSON."""
    match = re.fullmatch(rf"({_SECONDS})s", text) if isinstance(text, str) else None
    return float(match[1]) if match else None


def _seconds_until(text: str | None) -> float | None:
    """The seconds of a Retry-After, which is a number or an HTTP date. (RFC 9110, 10.2.3)"""
    text = (text or "").strip()
    if re.fullmatch(_SECONDS, text):
        return float(text)
    seconds = parse_http_date_safe(text)
    return None if seconds is None else max(0.0, seconds - timezone.now().timestamp())
