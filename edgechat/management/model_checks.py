"""The doctor command's checks of the model."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import django.db
from django.conf import settings

from ai.calls.metered import MeteredCall
from ai.gemini import CallControl, Content, ModelError, ModelQuotaExceeded, Prompt, count_tokens
from ai.queries import list_models
from edgechat.management.diagnosis import Finding, State
from usage.models import LedgerEntry

LIST_SECONDS = 15.0
CALL_SECONDS = 60.0
# Room for a model that thinks first.
MAX_OUTPUT_TOKENS = 64
QUESTION = Content("user", "Is this a question?")
INSTRUCTION = "Answer with the one word: yes"


def check_model_list() -> Iterator[Finding]:
    if not (settings.GEMINI_API_KEY or settings.GEMINI_BASE_URL):
        yield Finding("Model", State.FAULT, "none is set up: set GEMINI_API_KEY, or GEMINI_BASE_URL")
        return
    try:
        names = [model["name"] for model in list_models()]
    except ModelError as error:
        yield Finding("Model", State.FAULT, _what_to_do(error))
        return
    if settings.GEMINI_MODEL in names:
        yield Finding("Model", State.OK, f"{settings.GEMINI_MODEL} is one of {len(names)} models")
    elif settings.DEVELOPMENT and names and all(name.startswith("local-") for name in names):
        yield Finding("Model", State.OK, f"{names[0]} stands in for {settings.GEMINI_MODEL}")
    else:
        known = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        text = (
            f"{settings.GEMINI_MODEL} is not among the {len(names)} models: set GEMINI_MODEL to one of them ({known})"
        )
        yield Finding("Model", State.FAULT, text)


def check_model_call() -> Iterator[Finding]:
    """One short call like EdgeChat's own: streamed, with a system instruction. It belongs to no user.

    If the model refuses it, a second call without the instruction shows whether the instruction is the cause.
    """
    call, pieces, started = _new_call(INSTRUCTION, seconds=35.0), 0, time.monotonic()
    try:
        for _ in call.texts():
            pieces += 1
    except ModelError as error:
        # A model that uses all tokens for thinking works; this check does not need its answer.
        if call.finish_reason != "MAX_TOKENS":
            yield Finding("Model call", State.FAULT, _what_to_do(error))
            if error.refused and error.permanent and _answers_without_instruction():
                yield Finding("Model system instruction", State.FAULT, "refused: set GEMINI_API_VERSION to v1beta")
            return
    except django.db.Error:
        yield Finding("Model call", State.FAULT, "not made: it could not be written down in PostgreSQL first")
        return
    seconds = time.monotonic() - started
    yield Finding("Model call", State.OK, f"{call.model} answered in {seconds:.1f} s, {call.usage.total_tokens} tokens")
    yield Finding("Model system instruction", State.OK, "taken")
    yield Finding("Model streaming", State.OK, f"pieces of text: {pieces}")
    yield _check_counting(call)


def _new_call(instruction: str | None, *, seconds: float) -> MeteredCall:
    return MeteredCall(
        attempt_id=f"check:{uuid.uuid4()}",
        user_id=None,
        purpose=LedgerEntry.Purpose.CHECK,
        prompt=Prompt(contents=(QUESTION,), system_instruction=instruction, max_output_tokens=MAX_OUTPUT_TOKENS),
        control=CallControl(timeout=seconds),
    )


def _answers_without_instruction() -> bool:
    try:
        _new_call(None, seconds=10.0).run()
    except (ModelError, django.db.Error):
        return False
    return True


def _check_counting(call: MeteredCall) -> Finding:
    """The token counts that the model reports: in the call, which decide its price, and in answer to countTokens."""
    name = "Model counting"
    if call.usage.estimated:
        return Finding(name, State.WARNING, "the answer has no token counts: the cost of calls is estimated")
    try:
        counted = count_tokens(Prompt(contents=(QUESTION,)), CallControl(timeout=10.0))
    except ModelError as error:
        return Finding(
            name, State.WARNING, f"the answer has token counts, but countTokens failed: {_what_to_do(error)}"
        )
    counts = f"{call.usage.input_tokens} tokens of input and {call.usage.output_tokens} of output"
    return Finding(name, State.OK, f"the answer used {counts}; countTokens: {counted} without the instruction")


def _what_to_do(error: ModelError) -> str:
    if isinstance(error, ModelQuotaExceeded):
        return "the quota is used up: wait, or raise it where GEMINI_API_KEY was made"
    if error.refused and error.permanent:
        return "refused: look at GEMINI_API_KEY, GEMINI_MODEL and GEMINI_API_VERSION; the log has the reason"
    if error.refused:
        return "the model's server failed: try again later; the log has the reason"
    return "no whole answer: look at the network, and at GEMINI_BASE_URL; the log has the reason"
