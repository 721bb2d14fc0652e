"""Whether to call the model: after many failures in a row, only one call every few seconds tries it."""

from __future__ import annotations

import functools
import threading
import time

import structlog
from django.conf import settings

from ai.gemini.errors import ModelError
from edgechat.metrics import catalog, sampling

logger = structlog.get_logger(__name__)

PAUSE_SECONDS = 5.0


class ModelBreaker:
    """The failures in a row of the calls of this process to one model.

    The breaker opens after MODEL_BREAKER_FAILURES of them (0: never). Then one call every PAUSE_SECONDS probes the
    model and the others fail at once, until a call succeeds.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._failures = 0
        self._next_probe_at = 0.0
        self._lock = threading.Lock()
        sampling.register(lambda: catalog.model_breaker_open.set(self._is_open()))

    def require_permission(self) -> None:
        """Raises ModelError, with the time until the next probe, while the breaker is open."""
        with self._lock:
            if not self._is_open():
                return
            left = self._next_probe_at - time.monotonic()
            if left > 0:
                catalog.model_breaker_refusals.inc()
                raise ModelError(retry_after=left, refused=True)
            self._next_probe_at = time.monotonic() + PAUSE_SECONDS

    def _is_open(self) -> bool:
        return bool(0 < settings.MODEL_BREAKER_FAILURES <= self._failures)

    def note_failure(self) -> None:
        """Record that the model was not available to a call."""
        with self._lock:
            self._failures += 1
            if self._failures == settings.MODEL_BREAKER_FAILURES:
                self._next_probe_at = time.monotonic() + PAUSE_SECONDS
                logger.error("model_breaker_opened", model=self._model, failures=self._failures)

    def note_success(self) -> None:
        """Record that the model has begun to answer a call, or has rejected only this one."""
        if not self._failures:
            return
        with self._lock:
            if self._is_open():
                logger.warning("model_breaker_closed", model=self._model)
            self._failures = 0


@functools.cache
def breaker_of(model: str) -> ModelBreaker:
    """The one breaker of a model in this process."""
    return ModelBreaker(model)
