"""Summaries of texts of any length: in one call, or of each part and then of the parts' summaries."""

from __future__ import annotations

import threading
from collections.abc import Generator
from queue import SimpleQueue
from typing import Any

import structlog
from django.conf import settings

from ai.calls.answers import Answer, Completion, Pieces, completed
from ai.gemini import COMPLETE, Content, ModelOutputInvalid, Prompt
from ai.serializers import ProgressOutput, SummaryOutput
from ai.summarize.prompts import SummaryOptions
from ai.summarize.queries import Source
from ai.summarize.text_parts import hash_text, split_text
from edgechat.processes.threads import start_thread, waiting
from usage.ledger.budgets import BudgetExceeded
from usage.ledger.tokens import TokenUsage, estimate_tokens, prompt_budget
from usage.models import LedgerEntry

logger = structlog.get_logger(__name__)

SIMULTANEOUS_PARTS = 4
# For all summaries of a process: long ones would otherwise use up the model's quota, which chats share.
_part_calls = threading.BoundedSemaphore(64)
# How often a call that waits for them looks whether it has been cancelled.
LOOK_SECONDS = 0.5

# Cautious, like all estimates: a word and the space after it have nine bytes.
TOKENS_PER_WORD = 3
MIN_PART_WORDS = 10
MAX_PART_WORDS = 500

_WHOLE = {"text": "the text", "url": "the web page", "conversation": "the conversation between a user and a model"}
_PART = {"text": "a part of a text", "url": "a part of a web page", "conversation": "a part of a conversation"}
_SUMMARIES = "these summaries of consecutive parts of one text"
_SOME_SUMMARIES = "some summaries of consecutive parts of a text"


class NotShortened(ModelOutputInvalid):
    detail = "The model did not make the text shorter, please try again"


class _Siblings:
    """How many parts of a text are at the model, and how many are answered."""

    def __init__(self) -> None:
        self._running = 0
        self._answered = 0
        self._changed = threading.Condition()

    def begin(self) -> int:
        """Count a part as running. Returns how many have been answered."""
        with self._changed:
            self._running += 1
            return self._answered

    def end(self, *, answered: bool) -> None:
        with self._changed:
            self._running -= 1
            self._answered += answered
            self._changed.notify_all()

    def wait_for_another(self, answered_before: int) -> bool:
        """Wait until one more part is answered; False if no other part is running."""
        with waiting(), self._changed:
            self._changed.wait_for(lambda: self._answered > answered_before or not self._running)
            return self._answered > answered_before


class SummaryAnswer(Answer):
    """The summary of a source. No call exceeds CONTEXT_MAX_TOKENS, including its answer."""

    def __init__(self, *, user_id: int, source: Source, options: SummaryOptions) -> None:
        super().__init__(user_id=user_id, purpose=LedgerEntry.Purpose.SUMMARIZE, organization_id=source.organization_id)
        self._source = source
        self._options = options
        budget = prompt_budget(max_tokens=settings.CONTEXT_MAX_TOKENS, max_output_tokens=settings.AI_MAX_OUTPUT_TOKENS)
        self._max_output_tokens = settings.CONTEXT_MAX_TOKENS - budget
        self._whole = options.for_whole(_WHOLE[source.kind])
        self._of_summaries = options.for_whole(_SUMMARIES)
        longest = [options.for_part(what, words=MAX_PART_WORDS * 10) for what in (_PART[source.kind], _SOME_SUMMARIES)]
        self._room = budget - max(map(estimate_tokens, (self._whole, self._of_summaries, *longest)))
        self._usage = TokenUsage()
        self._ended_early: str | None = None  # the finish reason of the first call that was cut short

    def cache_parts(self) -> list[Any]:
        part = self._options.for_part(_PART[self._source.kind], words=0)
        return ["summarize", self._whole, part, self._room, self._max_output_tokens, hash_text(self._source.text)]

    def make(self) -> Pieces:
        text, instruction, what = self._source.text.strip(), self._whole, _PART[self._source.kind]
        done = 0
        while estimate_tokens(text) > self._room:
            parts = [part for part in split_text(text, tokens=self._room) if part.strip()]
            words = max(MIN_PART_WORDS, self._room // len(parts) // TOKENS_PER_WORD)
            words = min(words, max(MAX_PART_WORDS, self._options.max_words or 0))
            summaries = yield from self._summarize_parts(parts, self._options.for_part(what, words=words), done)
            done += len(parts)
            shorter = "\n\n".join(summaries)
            if 4 * estimate_tokens(shorter) > 3 * estimate_tokens(text):
                logger.warning("summaries_not_shorter", parts=len(parts), requested_words=words)
                raise NotShortened
            text, instruction, what = shorter, self._of_summaries, _SOME_SUMMARIES
        last = self._counted((yield from self.ask(self._prompt(text, instruction))))
        return Completion(last.text, last.model, self._ended_early or last.finish_reason, self._usage)

    def body(self) -> SummaryOutput:
        made = self.completion
        return {
            "summary": made.text,
            "finish_reason": made.finish_reason,
            "source": self._source.as_body(),
            "usage": made.usage.as_body(),
            "cached": made.cached,
        }

    def _summarize_parts(
        self, parts: list[str], instruction: str, done_before: int
    ) -> Generator[ProgressOutput, None, list[str]]:
        """The parts' summaries, in order. The first failure ends all calls and is raised."""
        ended: SimpleQueue[tuple[int, Completion | Exception]] = SimpleQueue()
        left = iter(enumerate(parts))
        taking = threading.Lock()
        siblings = _Siblings()

        def work() -> None:
            while True:
                with taking:
                    number, part = next(left, (0, ""))
                if not part:
                    return
                try:
                    ended.put((number, self._summarize_part(self._prompt(part, instruction), siblings)))
                except Exception as error:  # raised again in the thread that waits
                    ended.put((number, error))
                    return

        for _ in parts[:SIMULTANEOUS_PARTS]:
            start_thread(work)
        summaries = [""] * len(parts)
        for done in range(1, len(parts) + 1):
            with waiting():
                number, result = ended.get()
            if isinstance(result, Exception):
                self.cancel()
                raise result
            summaries[number] = self._counted(result).text
            yield ProgressOutput(done=done_before + done, total=done_before + len(parts))
        return summaries

    def _summarize_part(self, prompt: Prompt, siblings: _Siblings) -> Completion:
        """The summary of one part. A part for which a budget has no room is tried again after another part ends.

        Calls reserve more than they use, so all parts together can be refused although the budget is sufficient.
        """
        while True:
            ended_before = siblings.begin()
            answered = False
            try:
                with waiting():
                    while not _part_calls.acquire(timeout=LOOK_SECONDS):
                        self.raise_if_cancelled()
                try:
                    made = completed(self.ask(prompt))
                finally:
                    _part_calls.release()
                answered = True
                return made
            except BudgetExceeded as error:
                refusal = error
            finally:
                siblings.end(answered=answered)
            if refusal.spent or not siblings.wait_for_another(ended_before):
                raise refusal

    def _prompt(self, text: str, instruction: str) -> Prompt:
        return Prompt(
            contents=(Content("user", text),), system_instruction=instruction, max_output_tokens=self._max_output_tokens
        )

    def _counted(self, completion: Completion) -> Completion:
        """The answer, added to the usage. Raises ModelOutputInvalid if it has no text: no part may be left out."""
        if not completion.text.strip():
            raise ModelOutputInvalid
        if completion.finish_reason != COMPLETE:
            self._ended_early = self._ended_early or completion.finish_reason
        self._usage += completion.usage
        return completion
