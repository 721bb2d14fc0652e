"""What doctor asks the model."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import django.db
from django.conf import settings

from ai.call_control import CallControl
from ai.gemini import ModelError, ModelQuotaExceeded, Prompt, Turn, list_models
from ai.metered_call import MeteredCall
from edgechat.management.diagnosis import Finding, State
from usage.models import LedgerEntry

LIST_SECONDS = 15.0
CALL_SECONDS = 45.0
# Room for a model that thinks first. It need not get to its answer: that it works at it is the answer here.
MAX_OUTPUT_TOKENS = 64


def check_model_list() -> Iterator[Finding]:
    if not (settings.GEMINI_API_KEY or settings.GEMINI_BASE_URL):
        yield Finding("Model", State.FAULT, "none is set up: set GEMINI_API_KEY, or GEMINI_BASE_URL")
        return
    try:
        names = [model.name for model in list_models()]
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
    """One short call. It belongs to no user."""
    call = MeteredCall(
        attempt_id=f"check:{uuid.uuid4()}",
        user_id=None,
        purpose=LedgerEntry.Purpose.CHECK,
        prompt=Prompt(turns=(Turn("user", "Answer with the one word: yes"),), max_output_tokens=MAX_OUTPUT_TOKENS),
        control=CallControl(timeout=CALL_SECONDS - 5),
    )
    started = time.monotonic()
    try:
        call.run()
    except ModelError as error:
        yield Finding("Model call", State.FAULT, _what_to_do(error))
        return
    except django.db.Error:
        yield Finding("Model call", State.FAULT, "not made: it could not be written down in PostgreSQL first")
        return
    seconds = time.monotonic() - started
    yield Finding("Model call", State.OK, f"{call.model} answered in {seconds:.1f} s, {call.usage.total_tokens} tokens")


def _what_to_do(error: ModelError) -> str:
    if isinstance(error, ModelQuotaExceeded):
        return "the quota is used up: wait, or raise it where GEMINI_API_KEY was made"
    if error.refused and error.permanent:
        return "the call was refused: look at GEMINI_API_KEY and GEMINI_MODEL; the log has the reason"
    if error.refused:
        return "the model's server failed: try again later; the log has the reason"
    return "no whole answer: look at the network, and at GEMINI_BASE_URL; the log has the reason"
