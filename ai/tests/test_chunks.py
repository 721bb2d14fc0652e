"""How a chunk of the model's answer is read."""

from __future__ import annotations

import pytest
from google.genai import types

from ai.gemini.answers import read_chunk


@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\ud83d", "a\ufffd"), ("\ud83d\ude00", "\U0001f600"), ("\U0001f600 \u6f22", "\U0001f600 \u6f22")],
    ids=["half", "whole", "none"],
)
def test_half_a_surrogate_pair_is_replaced_and_a_whole_one_joined(text: str, kept: str) -> None:
    part = types.Part.model_construct(text=text, thought=None)
    content = types.Content.model_construct(parts=[part], role="model")
    candidate = types.Candidate.model_construct(content=content, finish_reason=None)
    response = types.GenerateContentResponse.model_construct(
        candidates=[candidate], prompt_feedback=None, usage_metadata=None, model_version=None
    )
    assert read_chunk(response).text == kept


@pytest.mark.parametrize("reason", ["JAILBREAK", "MODEL_ARMOR", "BLOCKED_REASON_UNSPECIFIED", "SAFETY"])
def test_whatever_blocks_a_prompt_blocks_its_answer(reason: str) -> None:
    feedback = types.GenerateContentResponsePromptFeedback(block_reason=types.BlockedReason(reason))
    chunk = read_chunk(types.GenerateContentResponse(prompt_feedback=feedback))
    assert (chunk.blocked, chunk.finish_reason, chunk.text) == (True, reason, "")


def test_counts_that_no_ledger_can_hold_are_brought_to_what_it_can() -> None:
    metadata = types.GenerateContentResponseUsageMetadata(
        prompt_token_count=-5, candidates_token_count=2**40, thoughts_token_count=2**40, cached_content_token_count=-1
    )
    usage = read_chunk(types.GenerateContentResponse(usage_metadata=metadata)).usage
    assert usage is not None
    assert (usage.input_tokens, usage.cached_tokens, usage.thinking_tokens) == (0, 0, 2**30 - 1)
    assert usage.output_tokens == 2**31 - 2
