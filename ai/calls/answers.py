"""The answer to one request: made by one or several calls to the model, or read from the cache."""

from __future__ import annotations

import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from typing import Any

from django.conf import settings

from ai.calls.cache import place_in_line
from ai.calls.metered import MeteredCall
from ai.gemini.adapter import COMPLETE, Prompt
from ai.gemini.call_control import CallCancelled
from ai.serializers import AnswerOutput, ProgressOutput
from ai.services import Completion
from usage.ledger.tokens import TokenUsage
from usage.models import LedgerEntry

Pieces = Generator[str | ProgressOutput, None, Completion]


class Answer(ABC):
    """An answer that is being made. `pieces()` makes it once; `cancel()` ends this from another thread."""

    def __init__(self, *, user_id: int, purpose: LedgerEntry.Purpose, organization_id: int | None = None) -> None:
        self.completion: Completion
        self._user_id = user_id
        self._purpose = purpose
        self._organization_id = organization_id
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._calls: list[MeteredCall] = []

    @abstractmethod
    def cache_parts(self) -> list[Any] | None:
        """Everything that the answer depends on except the user and the model, as JSON values; None: never cached."""

    @abstractmethod
    def make(self) -> Pieces:
        """Ask the model."""

    @abstractmethod
    def body(self) -> AnswerOutput:
        """The body of the response. The answer must be complete."""

    def pieces(self) -> Iterator[str | ProgressOutput]:
        """The progress, then the text, each as soon as it is available.

        Raises ModelError, BudgetExceeded, ContentBlocked, CallCancelled, and OperationalError if the ledger is down.
        """
        parts = self.cache_parts()
        if parts is None:
            self.completion = yield from self.make()
            return
        with place_in_line(self._user_id, [settings.GEMINI_MODEL, *parts], self._cancelled) as place:
            if place.found is not None:
                self.completion = Completion(**place.found, usage=TokenUsage(), cached=True)
                yield self.completion.text
                return
            self.completion = made = yield from self.make()
            # Only complete answers are cached: not an empty one, and not one that a budget or another limit cut short.
            whole = made.finish_reason == COMPLETE and not any(call.lowered for call in self._calls)
            if whole and made.text.strip():
                place.keep({"text": made.text, "model": made.model, "finish_reason": made.finish_reason})

    def run(self) -> AnswerOutput:
        """Make the answer and wait for all of it; raises as `pieces`."""
        for _ in self.pieces():
            pass
        return self.body()

    def cancel(self) -> None:
        """End the running calls and prevent new ones."""
        with self._lock:
            self._cancelled.set()
        for call in self._calls:
            call.control.cancel()

    def new_call(self, prompt: Prompt) -> MeteredCall:
        """A new call that `cancel` ends. Raises CallCancelled after `cancel`."""
        call = MeteredCall(
            attempt_id=f"{self._purpose}:{uuid.uuid4()}",
            user_id=self._user_id,
            organization_id=self._organization_id,
            purpose=self._purpose,
            prompt=prompt,
        )
        with self._lock:
            if self._cancelled.is_set():
                raise CallCancelled
            self._calls.append(call)
        return call
