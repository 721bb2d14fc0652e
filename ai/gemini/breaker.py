"""Whether to call the model: after many failures in a row, only one call every few seconds tries it."""

from __future__ import annotations

import functools
import math
import threading
import time
from dataclasses import dataclass

import structlog
from django.conf import settings

from ai.gemini.errors import ModelError
from edgechat.metrics import catalog, sampling

logger = structlog.get_logger(__name__)

PAUSE_SECONDS = 5.0
# From so many accounts must the failures come that end everybody's calls: the prompts of one may be their cause.
ACCOUNTS = 3
# An account that has probed lets at most so many probes pass before its next one.
MAX_TURNS = 5


@dataclass
class _Failing:
    """An account whose calls failed since the model answered last."""

    failures: int = 0
    next_probe_at: float = 0.0


class ModelBreaker:
    """The failures in a row of the calls of this process to one model.

    MODEL_BREAKER_FAILURES of one account (0: never) open the breaker for this account; as many of at least ACCOUNTS
    accounts, of which each counts for its share at most, open it for all. Then one call every PAUSE_SECONDS probes the
    model and the others fail at once, until a call succeeds.

    A call that the model rejects for what it asks is a success. But a model may fail at one prompt as if it failed at
    all, so the accounts take turns: whoever has probed leaves as many probes to others as accounts have failed, which
    is one more than the others of these need, if it is their prompts. Above MAX_TURNS accounts, chance decides.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        # No account is added while the breaker is open for all, so their number is bounded.
        self._failing: dict[int | None, _Failing] = {}
        self._next_probe_at = 0.0
        self._probed_at: dict[int | None, float] = {}  # by those who must wait for their next turn
        self._lock = threading.Lock()
        sampling.register(lambda: catalog.model_breaker_open.set(self._is_open()))

    def require_permission(self, caller: int | None) -> None:
        """Raises ModelError, with the time until the next probe, while the breaker is open for this user."""
        with self._lock:
            now = time.monotonic()
            mine = self._failing.get(caller)
            if self._is_open():
                turn = PAUSE_SECONDS * (1 + min(len(self._failing), MAX_TURNS))
                self._wait_until(max(self._next_probe_at, self._probed_at.get(caller, -math.inf) + turn), now)
                self._probed_at = {each: at for each, at in self._probed_at.items() if at + turn > now} | {caller: now}
                self._next_probe_at = now + PAUSE_SECONDS
            elif mine is not None and self._is_open_for(mine):
                self._wait_until(mine.next_probe_at, now)
                mine.next_probe_at = now + PAUSE_SECONDS

    @staticmethod
    def _wait_until(due: float, now: float) -> None:
        if due > now:
            catalog.model_breaker_refusals.inc()
            raise ModelError(retry_after=due - now, refused=True)

    def _is_open(self) -> bool:
        """Whether it is open for all."""
        limit = settings.MODEL_BREAKER_FAILURES
        share = math.ceil(limit / ACCOUNTS)
        accounts = list(self._failing.values())
        return len(accounts) >= ACCOUNTS and 0 < limit <= sum(min(each.failures, share) for each in accounts)

    @staticmethod
    def _is_open_for(account: _Failing) -> bool:
        return bool(0 < settings.MODEL_BREAKER_FAILURES <= account.failures)

    def note_error(self, caller: int | None, error: ModelError, *, answering: bool) -> None:
        """Record how a call of this user failed; `answering`: after the model had begun to answer it.

        A model that has begun to answer, or has rejected only this call, is available.
        """
        if not error.unavailable:
            self.note_success()
        elif not answering:
            self._note_failure(caller)

    def _note_failure(self, caller: int | None) -> None:
        with self._lock:
            if not settings.MODEL_BREAKER_FAILURES or self._is_open():
                return
            mine = self._failing.setdefault(caller, _Failing())
            mine.failures += 1
            probe_at = time.monotonic() + PAUSE_SECONDS
            if self._is_open():
                self._next_probe_at, self._probed_at = probe_at, {}
                logger.error("model_breaker_opened", model=self._model, accounts="all")
            elif mine.failures == settings.MODEL_BREAKER_FAILURES:
                mine.next_probe_at = probe_at
                logger.error("model_breaker_opened", model=self._model, accounts="one")

    def note_success(self) -> None:
        """Record that the model has begun to answer a call."""
        if not self._failing:
            return
        with self._lock:
            if self._is_open() or any(self._is_open_for(each) for each in self._failing.values()):
                logger.warning("model_breaker_closed", model=self._model)
            self._failing.clear()


@functools.cache
def breaker_of(model: str) -> ModelBreaker:
    """The one breaker of a model in this process."""
    return ModelBreaker(model)
