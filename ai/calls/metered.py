"""The one way to call the model: with a ledger entry that is opened before the call and settled after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from django.conf import settings

from ai.gemini import COMPLETE, CallControl, Chunk, FunctionCall, ModelError, Prompt, stream_answer
from edgechat.http.answer_bytes import beginning_within, text_bytes
from edgechat.processes.threads import working
from edgechat.stores import store_time
from edgechat.telemetry import spans
from usage.ledger import services as ledger
from usage.ledger.services import OpenEntry
from usage.ledger.tokens import TokenUsage, estimate_tokens
from usage.models import LedgerEntry

logger = structlog.get_logger(__name__)

# For one answer as JSON. It is far above AI_MAX_OUTPUT_TOKENS, for a model that ignores this limit. The rest is cut
# off, as Gemini does.
MAX_ANSWER_BYTES = 1_000_000
TOO_LONG = "MAX_TOKENS"


class MeteredCall:
    """One call to the model. `texts()` makes it and can be used once; the other attributes hold what is known so far.

    `calls` are the functions that the model asks for.

    `finish_reason` is Gemini's; None until the model has sent it. `usage` is the model's last count plus an estimate of
    the text since then, or only an estimate.
    """

    def __init__(
        self,
        *,
        attempt_id: str,
        user_id: int | None,
        purpose: LedgerEntry.Purpose,
        prompt: Prompt,
        organization_id: int | None = None,
        control: CallControl | None = None,
    ) -> None:
        self.control = control or CallControl(timeout=settings.AI_TIMEOUT_SECONDS)
        self.text = ""
        self.calls: list[FunctionCall] = []
        self.finish_reason: str | None = None
        self.blocked = False
        self.model: str = settings.GEMINI_MODEL
        self._attempt_id = attempt_id
        self._user_id = user_id
        self._organization_id = organization_id
        self._purpose = purpose
        self._prompt = prompt
        self._estimated_input = prompt.estimated_tokens()
        self._entry: OpenEntry | None = None
        self._reported: TokenUsage | None = None
        self._counted_characters = 0  # of the text, at the model's last count
        self._uncounted_calls = ""  # since then
        self._refused = False
        self._answered_by = ""

    @property
    def lowered(self) -> bool:
        """Whether a budget reduced the output limit below the requested one."""
        return self._entry is not None and self._entry.max_output_tokens < self._prompt.max_output_tokens

    @property
    def usage(self) -> TokenUsage:
        if self._reported is not None:
            uncounted = estimate_tokens(self.text[self._counted_characters :] + self._uncounted_calls)
            return self._reported + TokenUsage(output_tokens=uncounted, estimated=uncounted > 0)
        if self._refused:
            return TokenUsage()
        output = estimate_tokens(self.text + self._uncounted_calls)
        return TokenUsage(input_tokens=self._estimated_input, output_tokens=output, estimated=True)

    def open(self) -> OpenEntry:
        """Reserve the cost of the call in the budgets; `texts` does this if it has not been done.

        After this, call `texts` or `discard`. Raises BudgetExceeded, and OperationalError if the ledger cannot be
        written.
        """
        self._entry = ledger.open_entry(
            attempt_id=self._attempt_id,
            user_id=self._user_id,
            organization_id=self._organization_id,
            purpose=self._purpose,
            model=settings.GEMINI_MODEL,
            input_tokens=self._estimated_input,
            max_output_tokens=self._prompt.max_output_tokens,
        )
        return self._entry

    def discard(self) -> None:
        """Release the reservation of `open`: the call will not be made."""
        ledger.settle_entry(self._attempt_id, None)

    def texts(self) -> Iterator[str]:
        """The pieces of the text as they arrive, or an empty one with new `calls`. Closing the iterator ends the call.

        Raises ModelError, also for an answer without text that was neither blocked nor ended normally. An answer with
        text raises nothing, however it ended: see `finish_reason`. Before the call, raises CallCancelled and what
        `open` raises. In every case the entry is settled, or discarded if the model was never reached.
        """
        entry = self._entry
        if entry is None:
            with working(patience=store_time.seconds_left()):
                entry = self.open()
        left = MAX_ANSWER_BYTES
        span = spans.start_model_span(settings.GEMINI_MODEL, max_output_tokens=entry.max_output_tokens)
        failure: BaseException | None = None
        try:
            for chunk in stream_answer(
                self._prompt, self.control, caller=self._user_id, max_output_tokens=entry.max_output_tokens
            ):
                text = beginning_within(chunk.text, limit=left)
                left -= text_bytes(text) + sum(text_bytes(call.as_text()) for call in chunk.calls)
                calls = chunk.calls if left >= 0 else ()
                self._note(chunk, text, calls)
                if text or calls:
                    yield text
                if text != chunk.text or calls != chunk.calls:
                    logger.warning("model_answer_too_long", attempt_id=self._attempt_id)
                    self.finish_reason = TOO_LONG
                    break
            if not self.text.strip() and not self.calls and not self.blocked and self.finish_reason != COMPLETE:
                logger.warning("model_answer_empty", attempt_id=self._attempt_id, finish_reason=self.finish_reason)
                raise ModelError
        except ModelError as error:
            # The model does not charge for a refusal with a status. It may charge for a connection that broke.
            self._refused, failure = error.refused, error
            raise
        finally:
            spans.end_model_span(span, self._facts(), failure)
            # The request may have used its time for stores before the call.
            with working(), store_time.at_least(store_time.request_seconds()):
                if self.control.reached:
                    ledger.settle_entry(self._attempt_id, self.usage, answered_by=self._answered_by)
                else:
                    self.discard()

    def _facts(self) -> dict[str, Any]:
        """What is known of the answer, by OpenTelemetry's names."""
        usage = self.usage
        return {
            "gen_ai.response.model": self.model,
            "gen_ai.response.finish_reasons": [self.finish_reason] if self.finish_reason else None,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
        }

    def _note(self, chunk: Chunk, text: str, calls: Sequence[FunctionCall]) -> None:
        """Record the counts and the end of a chunk, and the parts of it that are used."""
        self.text += text
        self.calls += calls
        self._uncounted_calls += "".join(call.as_text() for call in calls)
        if chunk.model is not None:
            self.model = self._answered_by = chunk.model
        if not self.blocked:
            self.finish_reason = chunk.finish_reason or self.finish_reason
            self.blocked = chunk.blocked
        if chunk.usage is not None:
            self._reported, self._counted_characters, self._uncounted_calls = chunk.usage, len(self.text), ""

    def run(self) -> str:
        """The whole answer; raises as `texts`."""
        for _ in self.texts():
            pass
        return self.text
