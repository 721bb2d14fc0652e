"""POST /ai/complete."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from conftest import Person, assert_error
from usage.models import LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]
UNAVAILABLE = (503, "model_unavailable", "The model is not available, please try again")
QUOTA = (429, "model_quota", "The model's quota is used up, please try again later")


def test_a_completion_is_answered_whole(alice: Person, model_calls: ModelCalls) -> None:
    text = uuid.uuid4().hex
    prompt = f"{text} 世界 🚀 [[thoughts=4]][[cached=2]]"
    answer = alice.post("ai/complete", json={"prompt": prompt, "system_instruction": "Be brief."})
    (call,) = model_calls(text)
    assert answer.status_code == 200
    assert answer.json() == {
        "text": f"Echo: {text} 世界 🚀",
        "model": "local-scripted",
        "finish_reason": "STOP",
        "usage": {
            "input_tokens": call["prompt_tokens"],
            "output_tokens": call["output_tokens"] + 4,
            "total_tokens": call["prompt_tokens"] + call["output_tokens"] + 4,
            "cached_tokens": 2,
            "thinking_tokens": 4,
            "estimated": False,
        },
        "cached": False,
    }
    assert [part["text"] for part in call["system_instruction"]["parts"]] == ["Be brief."]
    assert call["contents"] == [{"role": "user", "parts": [{"text": prompt}]}]
    assert call["generation_config"] == {"maxOutputTokens": 8192}
    entry = LedgerEntry.objects.get(user_id=alice.id)
    assert (entry.purpose, entry.model, entry.settled_at is not None) == ("complete", "gemini-2.5-flash", True)


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name"],
        },
        {"type": "array", "items": {"type": "string"}},
        {"type": "string", "enum": ["größer", "世界"]},
        {},
    ],
)
def test_a_response_schema_reaches_the_model(alice: Person, model_calls: ModelCalls, schema: dict[str, Any]) -> None:
    text = uuid.uuid4().hex
    answer = alice.post("ai/complete", json={"prompt": text, "response_schema": schema})
    assert answer.status_code == 200
    json.loads(answer.json()["text"])
    config = model_calls(text)[0]["generation_config"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == schema


@pytest.mark.parametrize(
    ("directive", "error", "retry_after"),
    [
        ("[[status=429]][[retry=7]]", QUOTA, "7"),
        ("[[status=429]]", QUOTA, "30"),
        ("[[status=400]]", UNAVAILABLE, None),
        ("[[status=403]]", UNAVAILABLE, None),
        ("[[status=500]]", UNAVAILABLE, None),
        ("[[status=503]]", UNAVAILABLE, None),
        ("[[hang=0]]", UNAVAILABLE, None),
        ("[[rubbish=1]]", UNAVAILABLE, None),
        ("[[rubbish=2]]", UNAVAILABLE, None),
        ("[[rubbish=3]]", UNAVAILABLE, None),
        ("[[cut=0]]", UNAVAILABLE, None),
        ("[[chunks=4]][[gap=0.1]][[cut=2]]", UNAVAILABLE, None),
    ],
)
def test_a_fault_of_the_model_is_told_in_our_words(
    alice: Person, directive: str, error: tuple[int, str, str], retry_after: str | None
) -> None:
    answer = alice.post("ai/complete", json={"prompt": f"a b c d {directive}"})
    assert_error(answer, *error)
    assert answer.headers.get("Retry-After") == retry_after
    assert LedgerEntry.objects.filter(user_id=alice.id, settled_at__isnull=False).count() == 1


@pytest.mark.parametrize("block", ["prompt", "answer", "partial"])
def test_a_safety_block_is_422(alice: Person, block: str) -> None:
    answer = alice.post("ai/complete", json={"prompt": f"[[say=secret]][[block={block}]]"})
    detail = "The model refused this on safety grounds"
    assert_error(answer, 422, "content_blocked", detail, context={"finish_reason": "SAFETY"})
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == 1


DEEP = '{"prompt": "p", "response_schema": ' + '{"a":' * 500 + "1" + "}" * 500 + "}"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{}", "body.prompt"),
        ('{"prompt": ""}', "body.prompt"),
        ('{"prompt": null}', "body.prompt"),
        ('{"prompt": {"text": "p"}}', "body.prompt"),
        ('{"prompt": "\\ud800"}', "body.prompt"),
        ('{"prompt": "\\u0000"}', "body.prompt"),
        (json.dumps({"prompt": "p" * 32_001}), "body.prompt"),
        (json.dumps({"prompt": "p", "system_instruction": "s" * 8001}), "body.system_instruction"),
        ('{"prompt": "p", "response_schema": "object"}', "body.response_schema"),
        ('{"prompt": "p", "response_schema": []}', "body.response_schema"),
        ('{"prompt": "p", "response_schema": {"a": "\\ud800"}}', "body.response_schema"),
        ('{"prompt": "p", "response_schema": {"\\ud800": 1}}', "body.response_schema"),
        ('{"prompt": "p", "response_schema": {"maximum": 1e999}}', "body.response_schema"),
        (DEEP, "body.response_schema"),
    ],
    ids=lambda value: value[:70],
)
def test_a_faulty_prompt_is_422_and_asks_nobody(alice: Person, body: str, field: str) -> None:
    answer = alice.post("ai/complete", content=body, headers={"Content-Type": "application/json"})
    errors = answer.json().get("errors", [])
    assert [error["field"] for error in errors] == [field]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)
    assert not LedgerEntry.objects.filter(user_id=alice.id).exists()


def test_null_for_what_is_optional_is_as_good_as_none(alice: Person) -> None:
    body = {"prompt": "hello", "system_instruction": None, "response_schema": None}
    assert alice.post("ai/complete", json=body).json()["text"] == "Echo: hello"


def test_a_prompt_is_not_trimmed(alice: Person, model_calls: ModelCalls) -> None:
    prompt = f"  {uuid.uuid4().hex}\n"
    alice.post("ai/complete", json={"prompt": prompt})
    assert model_calls(prompt.strip())[0]["contents"][0]["parts"] == [{"text": prompt}]
