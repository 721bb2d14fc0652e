"""The models that OpenAI's clients may name: the one that answers."""

from __future__ import annotations

from django.conf import settings

from ai.openai.serializers import OpenAIModelOutput
from edgechat.errors import NotFound
from usage.ledger.local_models import is_local


def list_models() -> list[OpenAIModelOutput]:
    owner = "local" if is_local(settings.GEMINI_MODEL) else "google"
    return [{"id": settings.GEMINI_MODEL, "object": "model", "created": 0, "owned_by": owner}]


def get_model(model_id: str) -> OpenAIModelOutput:
    """Raises NotFound."""
    for model in list_models():
        if model["id"] == model_id.removeprefix("models/"):
            return model
    raise NotFound("There is no such model")
