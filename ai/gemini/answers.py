"""What the model answers."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai.gemini.prompts import FunctionCall
from usage.ledger.tokens import TokenUsage

if TYPE_CHECKING:
    from google.genai import types

# For each kind of token; the sum of two must fit into a column of 31 bits.
MAX_COUNT = 2**30 - 1
# The finish reason of a complete answer; every other one is a failure or a limit.
COMPLETE = "STOP"
# Reasons for which Gemini withholds an answer on safety grounds. Any other end without text is a failure.
BLOCKED_REASONS = frozenset(
    ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK"]
)
# The suffix of enum values that stand for no reason.
NO_REASON = "_UNSPECIFIED"


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer. `usage` counts the whole call so far; None if the chunk has no counts."""

    text: str
    usage: TokenUsage | None
    finish_reason: str | None
    model: str | None
    blocked: bool
    calls: tuple[FunctionCall, ...] = ()


def read_chunk(response: types.GenerateContentResponse) -> Chunk:
    # Only one candidate is requested. If there are several, the first one counts, in whichever chunk it arrives.
    candidate = next((each for each in response.candidates or [] if not each.index), None)
    feedback = response.prompt_feedback
    reason = _word(candidate.finish_reason if candidate else None)
    block_reason = _word(feedback.block_reason if feedback else None)
    if reason is not None and reason.endswith(NO_REASON):
        reason = None
    if block_reason is not None and block_reason.endswith(NO_REASON) and response.candidates:
        block_reason = None
    parts = candidate.content.parts if candidate and candidate.content and candidate.content.parts else []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    return Chunk(
        # JSON can hold a lone surrogate; the stores and streams cannot.
        text=text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
        usage=_usage(response.usage_metadata),
        finish_reason=block_reason or reason,
        model=_model_version(response.model_version),
        blocked=block_reason is not None or reason in BLOCKED_REASONS,
        calls=tuple(
            FunctionCall(part.function_call.name, part.function_call.args or {}, part.thought_signature)
            for part in parts
            if part.function_call and part.function_call.name
        ),
    )


def _word(reason: Any) -> str | None:
    """The name of a reason, including reasons that the SDK does not know."""
    if reason is None:
        return None
    return re.sub(r"[^A-Za-z0-9_]", "", str(getattr(reason, "value", reason)))[:100] or "UNKNOWN"


@functools.lru_cache(maxsize=32)
def _model_version(name: str | None) -> str | None:
    """The name of the model that answered, without `models/`; None for an invalid name."""
    name = (name or "").rpartition("/")[2]
    return name if re.fullmatch(r"[A-Za-z0-9._@-]{1,100}", name) else None


def _usage(metadata: types.GenerateContentResponseUsageMetadata | None) -> TokenUsage | None:
    """Gemini's counts are cumulative. Candidates exclude thoughts, and the prompt excludes what tools added."""
    if metadata is None or metadata.prompt_token_count is None:
        return None
    thinking = bounded_count(metadata.thoughts_token_count)
    prompt = bounded_count(metadata.prompt_token_count) + bounded_count(metadata.tool_use_prompt_token_count)
    return TokenUsage(
        input_tokens=bounded_count(prompt),
        output_tokens=bounded_count(metadata.candidates_token_count) + thinking,
        cached_tokens=bounded_count(metadata.cached_content_token_count),
        thinking_tokens=thinking,
    )


def bounded_count(tokens: int | None) -> int:
    """A count that fits the ledger, whatever the model reports: each call has to be settled."""
    return min(max(tokens or 0, 0), MAX_COUNT)
