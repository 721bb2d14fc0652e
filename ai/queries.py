"""The models that are available."""

from __future__ import annotations

import time

from django.conf import settings

from ai import gemini
from ai.serializers import ModelOutput

MODELS_CACHED_SECONDS = 300.0

_models: list[ModelOutput] = []
_models_expire_at = 0.0


def list_models() -> list[ModelOutput]:
    """The available models, the configured one first; the list is refreshed every five minutes. Raises ModelError."""
    global _models, _models_expire_at
    if time.monotonic() >= _models_expire_at:
        found = [
            ModelOutput(
                name=(name := (model.name or "").removeprefix("models/")),
                input_token_limit=model.input_token_limit or 0,
                output_token_limit=model.output_token_limit or 0,
                # Gemini's API does not report which models accept pictures. Gemini's own do; the local one reads text.
                vision=name.startswith(("gemini-", "local-")),
            )
            for model in gemini.fetch_models()
        ]
        _models = sorted(found, key=lambda model: (model["name"] != settings.GEMINI_MODEL, model["name"]))
        _models_expire_at = time.monotonic() + MODELS_CACHED_SECONDS
    return _models
