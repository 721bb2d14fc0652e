"""The names of models that run on the machine of EdgeChat itself, so their calls cost nothing."""

from __future__ import annotations

PREFIX = "local-"
# It plays Gemini for tests and for authors of clients, prices and titles included.
SCRIPTED = "local-scripted"


def is_local(model: str) -> bool:
    """Whether a model with this name runs here; False for the scripted model."""
    return model.startswith(PREFIX) and model != SCRIPTED
