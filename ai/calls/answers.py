"""What one request wants of the model: made once, by one call or by several, or found in the cache."""

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
    """An answer on its way. `pieces()` makes it, once; `cancel()` ends that from another thread."""

    def __init__(self, *, user_id: int, purpose: LedgerEntry.Purpose, organization_id: int | None = None) -> None:
        self.completion: Completion
        self._user_id = user_id
        self._purpose = purpose
        self._organization_id = organization_id
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._calls: list[MeteredCall] = []

    @abstractmethod
    def shape(self) -> list[Any] | None:
        """All that the answer depends on beside the user and the model, as JSON can hold it; None: it is not kept."""

    @abstractmethod
    def make(self) -> Pieces:
        """Ask the model."""

    @abstractmethod
    def body(self) -> AnswerOutput:
        """The answer to the client, once it was made."""

    def pieces(self) -> Iterator[str | ProgressOutput]:
        """The text as it comes, after the progress towards it.

        Raises ModelError, BudgetExceeded, ContentBlocked, CallCancelled, and OperationalError without the ledger.
        """
        shape = self.shape()
        if shape is None:
            self.completion = yield from self.make()
            return
        with place_in_line(self._user_id, [settings.GEMINI_MODEL, *shape], self._cancelled) as place:
            if place.found is not None:
                self.completion = Completion(**place.found, usage=TokenUsage(), cached=True)
                yield self.completion.text
                return
            self.completion = made = yield from self.make()
            # What was cut short, by a budget too, is no answer for the next time; nor is nothing.
            whole = made.finish_reason == COMPLETE and not any(call.lowered for call in self._calls)
            if whole and made.text.strip():
                place.keep({"text": made.text, "model": made.model, "finish_reason": made.finish_reason})

    def run(self) -> AnswerOutput:
        """Make it and wait for the whole; raises as `pieces`."""
        for _ in self.pieces():
            pass
        return self.body()

    def cancel(self) -> None:
        """End the calls that are being made, and let no other begin."""
        with self._lock:
            self._cancelled.set()
        for call in self._calls:
            call.control.cancel()

    def new_call(self, prompt: Prompt) -> MeteredCall:
        """A call that `cancel` ends. Raises CallCancelled after it."""
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
