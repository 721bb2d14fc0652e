"""The CPU of one call to the model, of 20 chunks: `python -m bench.model_call` prints milliseconds as JSON.

`sdk` calls google-genai directly, with dictionaries; `gemini` is `ai.gemini.stream_answer`; `metered` is a MeteredCall
with its writes in the ledger, whose CPU in PostgreSQL does not count. They alternate in one process, which is patched
like a web process, or has plain threads with the argument `plain`. The model is the server of GEMINI_BASE_URL.
"""

# ruff: noqa: E402
from __future__ import annotations

import sys

if "plain" not in sys.argv:
    import gevent.monkey

    gevent.monkey.patch_all()

import json
import os
import statistics
import time
import uuid
from collections.abc import Callable

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "edgechat.settings")
django.setup()

from django.conf import settings
from google import genai
from google.genai import types

from ai import gemini
from ai.calls.metered import MeteredCall
from usage.models import LedgerEntry

ROUNDS, CALLS = 30, 10
TEXT = "[[chunks=20]]" + "A sentence of the answer, as a model writes it. " * 20
INSTRUCTION = "Answer briefly."
PROMPT = gemini.Prompt((gemini.Content("user", TEXT),), INSTRUCTION, max_output_tokens=1000)


def main() -> None:
    key = settings.GEMINI_API_KEY or "none"
    client = genai.Client(api_key=key, http_options={"base_url": settings.GEMINI_BASE_URL})
    kinds: dict[str, Callable[[], None]] = {
        "sdk": lambda: _call_sdk(client),
        "gemini": _call_gemini,
        "metered": _call_metered,
    }
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind, call in kinds.items():
            began = time.process_time_ns()
            for _ in range(CALLS):
                call()
            spent[kind].append((time.process_time_ns() - began) / CALLS / 1e6)
    print(json.dumps({kind: round(statistics.median(each), 3) for kind, each in spent.items()}))


def _call_sdk(client: genai.Client) -> None:
    for _ in client.models.generate_content_stream(
        model=settings.GEMINI_MODEL,
        contents=types.ContentDict(role="user", parts=[{"text": TEXT}]),
        config={
            "system_instruction": INSTRUCTION,
            "max_output_tokens": 1000,
            "automatic_function_calling": {"disable": True},
        },
    ):
        pass


def _call_gemini() -> None:
    for _ in gemini.stream_answer(PROMPT, gemini.CallControl(timeout=60), caller=None, max_output_tokens=1000):
        pass


def _call_metered() -> None:
    purpose = LedgerEntry.Purpose.CHECK
    MeteredCall(attempt_id=f"check:{uuid.uuid4()}", user_id=None, purpose=purpose, prompt=PROMPT).run()


if __name__ == "__main__":
    main()
