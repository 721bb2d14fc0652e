"""The calls to Gemini, and the one SDK client of a process."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import httpx2
import structlog
from django.conf import settings

from ai.gemini.answers import Chunk, bounded_count, read_chunk
from ai.gemini.breaker import breaker_of
from ai.gemini.call_control import CallCancelled, CallControl, ControlledClient
from ai.gemini.errors import ModelError, model_error
from ai.gemini.measures import measured
from ai.gemini.prompts import Prompt
from ai.gemini.request_json import contents_json, request_json
from edgechat.processes.shortage import missing_resource
from edgechat.processes.threads import waiting

if TYPE_CHECKING:
    from google import genai
    from google.genai import types

logger = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
LIST_SECONDS = 30.0
# How long to read, after the finish reason, for the rest of the connection or its end.
AFTER_END_SECONDS = 2.0


def stream_answer(
    prompt: Prompt, control: CallControl, *, caller: int | None, max_output_tokens: int
) -> Iterator[Chunk]:
    """Ask the model and yield its answer as it arrives. Closing the iterator ends the call.

    `caller`: the user's id, for whom the breaker may be open. `max_output_tokens`: the limit of this call, which can be
    lower than the prompt's.

    Raises ModelError, immediately while the model's breaker is open, and CallCancelled if `control` was cancelled. A
    safety block raises nothing: it is the `finish_reason` of the last chunk. After the model has sent the finish
    reason, connection errors raise nothing.
    """
    breaker_of(settings.GEMINI_MODEL).require_permission(caller)
    return measured(_stream_answer(prompt, control, caller=caller, max_output_tokens=max_output_tokens))


def _stream_answer(
    prompt: Prompt, control: CallControl, *, caller: int | None, max_output_tokens: int
) -> Generator[Chunk]:
    breaker = breaker_of(settings.GEMINI_MODEL)
    answering = finished = False
    try:
        with waiting(), control.active():
            answer = _client().models.generate_content_stream(
                model=settings.GEMINI_MODEL, contents=_no_content(), config=_config(prompt, max_output_tokens)
            )
        while True:
            # The control is active only while this thread reads: between chunks the caller may do other work.
            with waiting(), control.active():
                response = next(answer, None)
            if response is None:
                break
            chunk = read_chunk(response)
            if not answering:
                answering = True
                breaker.note_success()
            yield chunk
            if chunk.finish_reason is not None and not finished:
                finished = True
                control.deadline = min(control.deadline, time.monotonic() + AFTER_END_SECONDS)
            else:
                control.share_time()
    except Exception as error:  # the SDK raises many undocumented types; they all mean the same to a caller
        if control.cancelled:
            raise CallCancelled from error
        if not finished:
            if missing_resource(error) is not None:  # this process is at fault, and no model
                raise
            told = model_error(error, answering=answering)
            breaker.note_error(caller, told, answering=answering)
            raise told from error
        logger.warning("connection_lost_after_answer", model=settings.GEMINI_MODEL, reason=repr(error)[:500])
    if control.cancelled:
        raise CallCancelled
    if not finished:
        logger.warning("model_answer_cut", model=settings.GEMINI_MODEL)
        raise ModelError


def count_tokens(prompt: Prompt, control: CallControl) -> int:
    """The model's count of the tokens in a prompt's contents, which is free of charge. Raises ModelError."""
    from google.genai import types

    try:
        with control.active():
            config = types.CountTokensConfig(http_options=_adding({"contents": contents_json(prompt)}))
            counted = _client().models.count_tokens(model=settings.GEMINI_MODEL, contents=_no_content(), config=config)
    except Exception as error:  # as above
        raise model_error(error) from error
    return bounded_count(counted.total_tokens)


def fetch_models() -> list[types.Model]:
    """The models that can generate text. Raises ModelError."""
    control = CallControl(timeout=min(LIST_SECONDS, settings.AI_TIMEOUT_SECONDS))
    try:
        with waiting(), control.active():
            return [each for each in _client().models.list() if "generateContent" in (each.supported_actions or [])]
    except Exception as error:  # as above
        raise model_error(error) from error


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

    with _client_lock:
        if _client_of_this_process is None:
            timeout = httpx2.Timeout(settings.AI_TIMEOUT_SECONDS, connect=CONNECT_SECONDS, pool=None)
            _client_of_this_process = genai.Client(
                # A self-hosted server at a base URL needs no key, but the SDK requires one.
                api_key=settings.GEMINI_API_KEY or "none",
                vertexai=False,
                http_options=types.HttpOptions(
                    base_url=settings.GEMINI_BASE_URL or None,
                    api_version=settings.GEMINI_API_VERSION or None,
                    httpx_client=ControlledClient(timeout=timeout),
                    timeout=int(settings.AI_TIMEOUT_SECONDS * 1000),
                ),
            )
    return _client_of_this_process


@functools.cache
def _no_content() -> types.Content:
    from google.genai import types

    return types.Content(role="user")


def _adding(body: dict[str, Any]) -> types.HttpOptions:
    """The option to merge these values into the body of a request. Its contents replace `_no_content`."""
    from google.genai import types

    return types.HttpOptions(extra_body=body)


def _config(prompt: Prompt, max_output_tokens: int) -> types.GenerateContentConfig:
    # An object, because the SDK validates a dictionary three times.
    config = _text_config(prompt.system_instruction, max_output_tokens)
    return config.model_copy(update={"http_options": _adding(request_json(prompt))})


@functools.lru_cache(maxsize=32)
def _text_config(system_instruction: str | None, max_output_tokens: int) -> types.GenerateContentConfig:
    from google.genai import types

    return _config_type()(
        system_instruction=system_instruction or None,
        max_output_tokens=max_output_tokens,
        # One call must be one request: only one request's cost is reserved.
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,
    )


@functools.cache
def _config_type() -> type[types.GenerateContentConfig]:
    from google.genai import types

    class Config(types.GenerateContentConfig):
        """The SDK asks `name in config` 67 times for a call, before it reads the attribute.

        The answer is always no. Without this method Python would compare the name with every field to find that out,
        which would take a fifth of the SDK's time.
        """

        def __contains__(self, name: object) -> bool:
            return False

    return Config
