"""POST /ai/complete with a JSON response."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from conftest import Api, Person
from edgechat.tests.web_settings import SMALL
from usage.ledger.tokens import estimate_tokens
from usage.models import LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]

UNAVAILABLE = {"detail": "The model is not available, please try again", "code": "model_unavailable"}
QUOTA = {"detail": "The model's quota is used up, please try again later", "code": "model_quota"}
BLOCKED = {
    "detail": "The model refused this on safety grounds",
    "code": "content_blocked",
    "context": {"finish_reason": "SAFETY"},
}


def charged(person: Person) -> list[tuple[str, int, int, bool]]:
    rows = LedgerEntry.objects.filter(user_id=person.id, settled_at__isnull=False)
    return [(row.purpose, row.input_tokens, row.output_tokens, row.estimated) for row in rows]


def test_a_prompt_is_answered_and_charged(alice: Person, model_calls: ModelCalls) -> None:
    prompt = f"prompt-{alice.id}"
    answer = alice.post("ai/complete", json={"prompt": prompt, "system_instruction": "Be brief"})
    (call,) = model_calls(prompt)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "text": f"Echo: {prompt}",
            "model": "local-scripted",
            "finish_reason": "STOP",
            "usage": {
                "input_tokens": call["prompt_tokens"],
                "output_tokens": call["output_tokens"],
                "total_tokens": call["prompt_tokens"] + call["output_tokens"],
                "cached_tokens": 0,
                "thinking_tokens": 0,
                "estimated": False,
            },
            "cached": False,
        },
    )
    assert call["contents"] == [{"role": "user", "parts": [{"text": prompt}]}]
    assert [part["text"] for part in call["system_instruction"]["parts"]] == ["Be brief"]
    assert charged(alice) == [("complete", call["prompt_tokens"], call["output_tokens"], False)]


def test_an_answer_follows_the_schema(alice: Person, model_calls: ModelCalls) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    prompt = f"schema-{alice.id}"
    answer = alice.post("ai/complete", json={"prompt": prompt, "response_schema": schema})
    assert answer.status_code == 200, answer.text
    assert set(json.loads(answer.json()["text"])) == {"name", "age"}
    config = model_calls(prompt)[0]["generation_config"]
    assert (config["responseMimeType"], config["responseJsonSchema"]) == ("application/json", schema)


@pytest.mark.parametrize(
    ("directives", "status", "error", "retry_after", "estimated"),
    [
        ("[[status=429]][[retry=7]]", 429, QUOTA, "7", False),
        ("[[status=500]]", 503, UNAVAILABLE, None, False),
        ("[[status=503]]", 503, UNAVAILABLE, None, False),
        ("[[status=400]]", 503, UNAVAILABLE, None, False),
        ("[[cut=0]]", 503, UNAVAILABLE, None, True),
        ("[[rubbish=1]]", 503, UNAVAILABLE, None, True),
        ("[[rubbish=2]]", 503, UNAVAILABLE, None, True),
        ("[[rubbish=3]]", 503, UNAVAILABLE, None, True),
    ],
)
def test_a_fault_is_told_without_the_models_words(
    alice: Person,
    model_calls: ModelCalls,
    directives: str,
    status: int,
    error: dict[str, str],
    retry_after: str | None,
    estimated: bool,
) -> None:
    prompt = f"{directives} fault-{alice.id}"
    answer = alice.post("ai/complete", json={"prompt": prompt})
    assert (answer.status_code, answer.json()) == (status, {**error, "request_id": answer.headers["X-Request-ID"]})
    assert answer.headers.get("Retry-After") == retry_after
    assert charged(alice) == [("complete", estimate_tokens(prompt) if estimated else 0, 0, estimated)]
    assert len(model_calls(f"fault-{alice.id}")) == 1
    assert alice.post("ai/complete", json={"prompt": "and on"}).status_code == 200


def test_what_came_before_a_cut_is_charged(alice: Person, model_calls: ModelCalls) -> None:
    prompt = f"[[chunks=5]][[cut=3]][[cut_by=close]] cut-{alice.id} one two three four five"
    answer = alice.post("ai/complete", json={"prompt": prompt})
    (call,) = model_calls(f"cut-{alice.id}")
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
    assert charged(alice) == [("complete", call["prompt_tokens"], call["output_tokens"], False)]


@pytest.mark.parametrize("block", ["prompt", "answer", "partial"])
def test_a_block_is_422_and_charged(alice: Person, model_calls: ModelCalls, block: str) -> None:
    answer = alice.post("ai/complete", json={"prompt": f"[[block={block}]] blocked-{alice.id}"})
    (call,) = model_calls(f"blocked-{alice.id}")
    assert (answer.status_code, answer.json()) == (422, {**BLOCKED, "request_id": answer.headers["X-Request-ID"]})
    assert charged(alice) == [("complete", call["prompt_tokens"], call["output_tokens"], False)]


def test_an_empty_answer_is_an_answer(alice: Person) -> None:
    answer = alice.post("ai/complete", json={"prompt": "[[empty=1]] nothing"})
    assert (answer.status_code, answer.json()["text"], answer.json()["finish_reason"]) == (200, "", "STOP")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.prompt"),
        ({"prompt": ""}, "body.prompt"),
        ({"prompt": "x" * 32_001}, "body.prompt"),
        ({"prompt": "a\x00b"}, "body.prompt"),
        ({"prompt": ["x"]}, "body.prompt"),
        ({"prompt": "x", "system_instruction": "s" * 8001}, "body.system_instruction"),
        ({"prompt": "x", "response_schema": []}, "body.response_schema"),
        ({"prompt": "x", "response_schema": "{}"}, "body.response_schema"),
        ([], "body"),
    ],
)
def test_what_is_wrong_is_named_and_the_model_not_asked(alice: Person, body: Any, field: str) -> None:
    answer = alice.post("ai/complete", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert [error["field"].partition(".0")[0] for error in answer.json()["errors"]] == [field]
    assert charged(alice) == []


def test_more_than_a_call_may_have_is_413(web_with: Callable[..., str]) -> None:
    carol = Person(web_with(**SMALL), "carol")
    answer = carol.post("ai/complete", json={"prompt": "x" * 769})
    assert (answer.status_code, answer.json()) == (
        413,
        {
            "detail": "The prompt is longer than the 256 tokens that a call may have",
            "code": "too_large",
            "request_id": answer.headers["X-Request-ID"],
        },
    )
    assert carol.post("ai/complete", json={"prompt": "x" * 768}).status_code == 200
    assert carol.post("ai/complete", json={"prompt": "x" * 768, "system_instruction": "s"}).status_code == 413
    carol.close()


def test_a_token_is_needed(anonymous: Api) -> None:
    answer = anonymous.post("ai/complete", json={"prompt": "hello"})
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
