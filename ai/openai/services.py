"""The answer to a chat completion."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from django.conf import settings
from django.utils import timezone

from ai.calls.answers import Answer, Completion, Pieces
from ai.calls.cache import CachedAnswer, cached_answer
from ai.calls.metered import TOO_LONG, MeteredCall
from ai.gemini import FunctionCall, Prompt
from ai.openai.serializers import ChatCompletionOutput, ChatMessageOutput, ToolCallOutput, usage_body
from ai.openai.signatures import keep_signatures
from ai.serializers import ProgressOutput
from edgechat.http.idempotency import IdempotencyConflict
from usage.ledger.tokens import TokenUsage
from usage.models import LedgerEntry

logger = structlog.get_logger(__name__)

# How long the answer to an Idempotency-Key is kept.
KEY_SECONDS = 24 * 3600
REFUSAL = "The model refused this on safety grounds"


@dataclass(frozen=True)
class IdempotentRequest:
    """A request with the header Idempotency-Key. `digest` is the body's."""

    key: str
    digest: str

    @classmethod
    def of(cls, key: str, body: Any) -> IdempotentRequest:
        return cls(key, hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest())


class ChatAnswer(Answer):
    """An answer with its function calls.

    `id`, `created`, `tool_calls` and `finish_reason` are OpenAI's. The first two are known from the first piece on, and
    the calls grow: an empty piece comes with new ones.
    """

    def __init__(self, *, user_id: int, prompt: Prompt, request: IdempotentRequest | None) -> None:
        super().__init__(user_id=user_id, purpose=LedgerEntry.Purpose.COMPLETE)
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(timezone.now().timestamp())
        self.model: str = settings.GEMINI_MODEL
        self.tool_calls: list[ToolCallOutput] = []
        self.finish_reason = ""
        self.outlives_client = request is not None
        self._prompt = prompt
        self._request = request

    def cache_parts(self) -> None:
        return None

    def make(self) -> Pieces:
        call = self.begin(self._prompt)
        for text in call.texts():
            self._add_calls(call.calls[len(self.tool_calls) :])
            yield text
        self.finish_reason = _finish_reason(call)
        return Completion(text=call.text, model=self.model, finish_reason=call.finish_reason, usage=call.usage)

    def pieces(self) -> Iterator[str | ProgressOutput]:
        """As `Answer.pieces`; also raises IdempotencyConflict.

        The answer to an Idempotency-Key is kept. A request with the same key waits while the answer is made.
        """
        if self._request is None:
            yield from super().pieces()
            return
        parts = ["openai", self._request.key]
        with cached_answer(self._user_id, parts, self._cancelled, seconds=KEY_SECONDS) as kept:
            digest = self._request.digest
            if kept.answer is not None and self._restore(kept.answer["text"], digest):
                yield self.completion.text
                return
            yield from super().pieces()
            self._keep(kept, digest)

    def body(self) -> ChatCompletionOutput:
        text, refused = self.completion.text, self.finish_reason == "content_filter"
        message = ChatMessageOutput(
            role="assistant",
            content=text or (None if self.tool_calls or refused else ""),
            refusal=REFUSAL if refused else None,
        )
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason, "logprobs": None}],
            "usage": usage_body(self.completion.usage),
        }

    def _add_calls(self, calls: list[FunctionCall]) -> None:
        """Give each call an id, and keep the model's signature of it."""
        made = {f"call_{secrets.token_hex(12)}": call for call in calls}
        keep_signatures(self._user_id, {call_id: call.signature for call_id, call in made.items() if call.signature})
        self.tool_calls += [
            {
                "id": call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call_id, call in made.items()
        ]

    def _keep(self, kept: CachedAnswer, digest: str) -> None:
        made = self.completion
        record = {
            "request": digest,
            "id": self.id,
            "created": self.created,
            "tool_calls": self.tool_calls,
            "finish_reason": self.finish_reason,
            "text": made.text,
            "usage": asdict(made.usage),
        }
        kept.store({"text": json.dumps(record), "model": self.model, "finish_reason": None})

    def _restore(self, text: str, digest: str) -> bool:
        """Become the answer that was kept. False if it was not written by `_keep`. Raises IdempotencyConflict."""
        try:
            record = json.loads(text)
            made_for, made = record["request"], (record["text"], TokenUsage(**record["usage"]))
            known = (record["id"], record["created"], record["tool_calls"], record["finish_reason"])
        except (ValueError, LookupError, TypeError):
            logger.error("kept_answer_unusable")
            return False
        if made_for != digest:
            raise IdempotencyConflict
        self.id, self.created, self.tool_calls, self.finish_reason = known
        self.completion = Completion(text=made[0], model=self.model, finish_reason=None, usage=made[1])
        return True


def _finish_reason(call: MeteredCall) -> str:
    if call.blocked:
        return "content_filter"
    if call.finish_reason == TOO_LONG:
        return "length"
    return "tool_calls" if call.calls else "stop"
