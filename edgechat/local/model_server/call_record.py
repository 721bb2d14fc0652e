"""The scripted model's record of its calls, for tests. Its memory is bounded."""

import json
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from edgechat.local.model_server.gemini_protocol import ModelCall
from edgechat.local.model_server.http import Request

MAX_CALLS = 20_000
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_TEXT_CHARACTERS = 4_000
MAX_CHUNK_TIMES = 1_000
MAX_INLINE_CHARACTERS = 1_000


@dataclass(slots=True)
class CallEntry:
    """One call. Times are in epoch seconds, None for events that did not happen.

    `body` is None once it was dropped to free memory.
    """

    id: int
    path: str
    model: str
    text: str
    received_at: float
    prompt_tokens: int
    body: bytes | None
    first_byte_at: float | None = None
    ended_at: float | None = None
    outcome: str = "running"
    output_tokens: int = 0
    thoughts_tokens: int = 0
    chunks_sent: int = 0
    chunk_times: list[float] = field(default_factory=list)

    def note_chunk(self, now: float, output_tokens: int) -> None:
        if self.first_byte_at is None:
            self.first_byte_at = now
        self.chunks_sent += 1
        self.output_tokens = output_tokens
        if len(self.chunk_times) < MAX_CHUNK_TIMES:
            self.chunk_times.append(now)

    def to_json(self) -> dict[str, Any]:
        """The form in answers of GET /scripted/calls. Long inline data is replaced by its length."""
        fields = asdict(self)
        body = fields.pop("body")
        payload: dict[str, Any] = {} if body is None else json.loads(body, object_hook=shorten_inline)
        return {
            **fields,
            "contents": payload.get("contents"),
            "system_instruction": payload.get("systemInstruction", payload.get("system_instruction")),
            "tools": payload.get("tools"),
            "tool_config": payload.get("toolConfig"),
            "generation_config": payload.get("generationConfig", payload.get("generation_config")),
        }


def shorten_inline(value: dict[str, Any]) -> dict[str, Any]:
    data = value.get("data")
    if isinstance(data, str) and len(data) > MAX_INLINE_CHARACTERS:
        return {**value, "data": f"<{len(data)} characters>"}
    return value


class CallRecord:
    """The latest 20,000 calls, and the totals since the start or the last `clear`."""

    def __init__(self) -> None:
        self._next_id = 1
        self.clear()

    def clear(self) -> None:
        self._calls: deque[CallEntry] = deque()
        self._with_body: deque[CallEntry] = deque()
        self._body_bytes = 0
        self._totals = dict.fromkeys(("calls", "billed_calls", "prompt_tokens", "output_tokens", "thoughts_tokens"), 0)

    def start(self, request: Request, call: ModelCall, prompt_tokens: int) -> CallEntry:
        entry = CallEntry(
            id=self._next_id,
            path=request.path,
            model=call.model,
            text=call.last_user_content.text[:MAX_TEXT_CHARACTERS],
            received_at=request.received_at,
            prompt_tokens=prompt_tokens,
            body=request.body,
        )
        self._next_id += 1
        self._totals["calls"] += 1
        self._calls.append(entry)
        if len(self._calls) > MAX_CALLS:
            self._drop_body(self._calls.popleft())
        self._with_body.append(entry)
        self._body_bytes += len(request.body)
        while self._body_bytes > MAX_BODY_BYTES:
            self._drop_body(self._with_body.popleft())
        return entry

    def end(self, entry: CallEntry, outcome: str, now: float, *, billed: bool) -> None:
        """`billed` is False for a call that was refused before it reached the model."""
        entry.outcome = outcome
        entry.ended_at = now
        if billed:
            self._totals["billed_calls"] += 1
            self._totals["prompt_tokens"] += entry.prompt_tokens
            self._totals["output_tokens"] += entry.output_tokens
            self._totals["thoughts_tokens"] += entry.thoughts_tokens

    def find(self, contains: str) -> list[dict[str, Any]]:
        """The calls whose last user text contains the text, oldest first."""
        return [entry.to_json() for entry in self._calls if contains in entry.text]

    def totals(self) -> dict[str, int]:
        """The token counts of ended calls; `running` is the number of recorded calls that have not ended."""
        running = sum(1 for entry in self._calls if entry.ended_at is None)
        return {**self._totals, "running": running}

    def _drop_body(self, entry: CallEntry) -> None:
        if entry.body is not None:
            self._body_bytes -= len(entry.body)
            entry.body = None
