"""The answer to one request: made by one or several calls to the model, or read from the cache."""

from __future__ import annotations

import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from ai.calls.cache import cached_answer
from ai.calls.metered import MeteredCall
from ai.errors import ContentBlocked
from ai.gemini import COMPLETE, CallCancelled, Prompt
from ai.serializers import AnswerOutput, ProgressOutput
from usage.ledger.tokens import TokenUsage
from usage.models import LedgerEntry


@dataclass(frozen=True)
class Completion:
    """What the model answered."""

    text: str
    model: str
    finish_reason: str | None
    usage: TokenUsage
    cached: bool = False


Pieces = Generator[str | ProgressOutput, None, Completion]


def completed(pieces: Generator[Any, None, Completion]) -> Completion:
    """The result of `Answer.ask` or `Answer.make`, after all pieces."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


class Answer(ABC):
    """An answer that is being made. `pieces()` makes it once; `cancel()` ends this from another thread."""

    def __init__(self, *, user_id: int, purpose: LedgerEntry.Purpose, organization_id: int | None = None) -> None:
        self.completion: Completion
        # Whether the answer is made to its end when its client is gone, because the client can ask for it again.
        self.outlives_client = False
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
        parts = self.cache_parts() if settings.AI_CACHE_SECONDS else None
        if parts is None:
            self.completion = yield from self.make()
            return
        key = [settings.GEMINI_MODEL, *parts]
        with cached_answer(self._user_id, key, self._cancelled, seconds=settings.AI_CACHE_SECONDS) as cached:
            if cached.answer is not None:
                self.completion = Completion(**cached.answer, usage=TokenUsage(), cached=True)
                yield self.completion.text
                return
            self.completion = made = yield from self.make()
            # Only complete answers are cached: not an empty one, and not one that a budget or another limit cut short.
            whole = made.finish_reason == COMPLETE and not any(call.lowered for call in self._calls)
            if whole and made.text.strip():
                cached.store({"text": made.text, "model": made.model, "finish_reason": made.finish_reason})

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

    def raise_if_cancelled(self) -> None:
        """Raises CallCancelled."""
        if self._cancelled.is_set():
            raise CallCancelled

    def begin(self, prompt: Prompt) -> MeteredCall:
        """A new call, which `cancel` ends. Raises CallCancelled."""
        call = MeteredCall(
            attempt_id=f"{self._purpose}:{uuid.uuid4()}",
            user_id=self._user_id,
            organization_id=self._organization_id,
            purpose=self._purpose,
            prompt=prompt,
        )
        with self._lock:
            self.raise_if_cancelled()
            self._calls.append(call)
        return call

    def ask(self, prompt: Prompt) -> Generator[str, None, Completion]:
        """Make one call: the pieces of its text, then its result. Raises as `pieces`."""
        call = self.begin(prompt)
        yield from call.texts()
        if call.blocked:
            raise ContentBlocked(call.finish_reason)
        return Completion(text=call.text, model=call.model, finish_reason=call.finish_reason, usage=call.usage)
