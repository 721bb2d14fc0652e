"""The ends of a model's answer: complete, withheld, abandoned, or with an error in the middle."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings

from conftest import Person
from conversations.tests.test_model_faults import (
    NO_TOKENS,
    QUOTA,
    UNAVAILABLE,
    assert_next_send_works,
    failed_send,
    ledger,
)
from usage.ledger.tokens import estimate_tokens

ModelCalls = Callable[[str], list[dict[str, Any]]]

NOT_WHOLE = [
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MALFORMED_RESPONSE",
    "OTHER",
    "LANGUAGE",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "IMAGE_PROHIBITED_CONTENT",
    "ESCALATION",
    "CONTINUATION",
    "MAX_TOKENS",
    "FINISH_REASON_UNSPECIFIED",
    "A_REASON_OF_NEXT_YEAR",
]
SAFETY = ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK"]


@pytest.mark.parametrize("reason", NOT_WHOLE)
def test_an_answer_without_text_that_did_not_end_well_is_a_failure(
    alice: Person, model_calls: ModelCalls, reason: str
) -> None:
    conversation = alice.new_conversation(title="Ends")
    content = f"[[empty=1]][[thoughts=8]][[finish={reason}]] ended-{alice.id}"
    _, reply = failed_send(alice, conversation, content, status=503, error=UNAVAILABLE)
    assert reply["content"] == ""
    # The model generated tokens and reported their usage.
    (call,) = model_calls(f"ended-{alice.id}")
    tokens = {"input_tokens": call["prompt_tokens"], "output_tokens": 8, "total_tokens": call["prompt_tokens"] + 8}
    assert reply["usage"] == {**NO_TOKENS, **tokens, "thinking_tokens": 8}
    assert ledger(alice) == [reply["usage"]]
    assert_next_send_works(alice, conversation, model_calls)


def test_an_answer_of_nothing_but_space_that_did_not_end_well_is_a_failure(alice: Person) -> None:
    conversation = alice.new_conversation(title="Ends")
    failed_send(alice, conversation, "[[say=%0A ]][[finish=MAX_TOKENS]]", status=503, error=UNAVAILABLE)


@pytest.mark.parametrize("reason", SAFETY)
def test_what_is_withheld_on_safety_grounds_is_blocked(alice: Person, reason: str) -> None:
    conversation = alice.new_conversation(title="Ends")
    reply = alice.say(conversation, f"[[empty=1]][[finish={reason}]]no").json()["model_message"]
    assert (reply["status"], reply["content"], reply["finish_reason"]) == ("blocked", "", reason)
    answer = alice.post("ai/complete", json={"prompt": f"[[empty=1]][[finish={reason}]]no"})
    assert (answer.status_code, answer.json()["code"]) == (422, "content_blocked")


@pytest.mark.parametrize("reason", ["MAX_TOKENS", "OTHER", "LANGUAGE", "A_REASON_OF_NEXT_YEAR"])
def test_an_answer_with_text_is_complete_and_tells_how_it_ended(alice: Person, reason: str) -> None:
    conversation = alice.new_conversation(title="Ends")
    reply = alice.say(conversation, f"[[finish={reason}]]some words").json()["model_message"]
    assert (reply["status"], reply["content"], reply["finish_reason"]) == ("complete", "Echo: some words", reason)


def chunk(text: str | None, reason: str | None = None, *, index: int | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [] if text is None else [{"text": text}]}}
    candidate |= {} if reason is None else {"finishReason": reason}
    candidate |= {} if index is None else {"index": index}
    return {"candidates": [candidate], **more}


def raw(*chunks: dict[str, Any]) -> str:
    return f"[[raw={quote(chr(10).join(map(json.dumps, chunks)), safe='')}]]"


def both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {**first, "candidates": first["candidates"] + second["candidates"]}


BLOCKED: dict[str, Any] = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
UNSPECIFIED: dict[str, Any] = {"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}
FORMS: dict[str, tuple[str, str, str, str | None]] = {
    "two candidates": (
        raw(
            both(chunk("one ", index=0), chunk("eins ", index=1)),
            chunk("zwei", "STOP", index=1),
            both(chunk("drei", "SAFETY", index=1), chunk("two", "STOP", index=0)),
        ),
        *("complete", "one two", "STOP"),
    ),
    "an answer to a blocked prompt": (raw(chunk("one", "STOP", **BLOCKED)), "blocked", "one", "PROHIBITED_CONTENT"),
    "a prompt that is blocked in the middle": (
        raw(chunk("one"), BLOCKED, chunk("two", "STOP")),
        *("blocked", "onetwo", "PROHIBITED_CONTENT"),
    ),
    "a prompt that is blocked before a reason": (
        raw(BLOCKED, chunk(None, "OTHER")),
        *("blocked", "", "PROHIBITED_CONTENT"),
    ),
    "a reason that is none": (raw(chunk("one", **UNSPECIFIED), chunk(" two", "STOP")), "complete", "one two", "STOP"),
    "the reason in small letters": (raw(chunk("one", "stop")), "complete", "one", "STOP"),
    "an empty chunk behind": (raw(chunk("one", "STOP"), {}, chunk("")), "complete", "one", "STOP"),
    "thoughts and calls of functions": (
        raw(
            {
                "candidates": [
                    {"content": {"parts": [{"text": "Hm", "thought": True}, {"functionCall": {"name": "f"}}]}}
                ]
            },
            chunk("one", "STOP"),
        ),
        *("complete", "one", "STOP"),
    ),
}


@pytest.mark.parametrize(("directive", "status", "content", "reason"), FORMS.values(), ids=FORMS)
def test_answers_of_other_forms_are_read(
    alice: Person, directive: str, status: str, content: str, reason: str | None
) -> None:
    conversation = alice.new_conversation(title="Ends")
    reply = alice.say(conversation, directive).json()["model_message"]
    assert (reply["status"], reply["content"], reply["finish_reason"]) == (status, content, reason)
    answer = alice.post("ai/complete", json={"prompt": directive})
    if status == "blocked":
        assert (answer.status_code, answer.json()["context"]) == (422, {"finish_reason": reason})
    else:
        assert (answer.status_code, answer.json()["text"]) == (200, content)


def test_chunks_that_go_on_coming_after_the_end_are_not_waited_for(
    alice: Person, model_calls: ModelCalls, eventually: Callable[..., Any]
) -> None:
    prompt = f"drip-{alice.id}[[gap=0.4]]{raw(chunk('one', 'STOP'), *[chunk('')] * 30)}"
    answer = alice.post("ai/complete", json={"prompt": prompt})
    assert (answer.status_code, answer.json()["text"]) == (200, "one")
    eventually(lambda: [call["outcome"] for call in model_calls(f"drip-{alice.id}")] == ["client_gone"])


def test_nothing_but_thoughts_is_no_answer(alice: Person) -> None:
    conversation = alice.new_conversation(title="Ends")
    thought = {"candidates": [{"content": {"parts": [{"text": "Hm", "thought": True}]}, "finishReason": "MAX_TOKENS"}]}
    failed_send(alice, conversation, raw(thought), status=503, error=UNAVAILABLE)


ERROR = '{"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}'
ENDINGS = {
    "garbage": f"[[tail={quote('<html>502 Bad Gateway</html>')}]]",
    "garbage as an event": f"[[tail={quote('data: {not json')}]]",
    "done as others say it": f"[[tail={quote('data: [DONE]')}]]",
    "an error": f"[[tail={quote('data: ' + ERROR)}]]",
    "a reset": "[[cut=3]]",
    "the end of the connection": "[[cut=3]][[cut_by=close]]",
    "garbage and a reset": f"[[tail={quote('data: {')}]][[cut=3]]",
    "silence": "[[linger=3600]]",
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_an_answer_that_was_finished_is_complete_whatever_comes_after_it(
    alice: Person, model_calls: ModelCalls, ending: str
) -> None:
    conversation = alice.new_conversation(title="Ends")
    text = f"finished-{alice.id} two three four five six"
    reply = alice.say(conversation, f"[[chunks=3]][[gap=0.02]]{ending}{text}").json()["model_message"]
    (call,) = model_calls(text)
    assert (reply["status"], reply["content"], reply["finish_reason"]) == ("complete", f"Echo: {text}", "STOP")
    tokens = {"input_tokens": call["prompt_tokens"], "output_tokens": call["output_tokens"]}
    assert reply["usage"] == {**NO_TOKENS, **tokens, "total_tokens": sum(tokens.values())}
    assert ledger(alice) == [reply["usage"]]
    answer = alice.post("ai/complete", json={"prompt": f"[[chunks=3]][[gap=0.02]]{ending}{text}"})
    assert (answer.status_code, answer.json()["text"]) == (200, f"Echo: {text}")


@pytest.mark.parametrize(("status", "error"), [(503, UNAVAILABLE), (500, UNAVAILABLE), (429, QUOTA)])
@pytest.mark.parametrize("told", [True, False])
def test_an_error_after_text_is_charged(alice: Person, status: int, error: dict[str, str], told: bool) -> None:
    conversation = alice.new_conversation(title="Ends")
    content = f"[[chunks=4]][[error={status}]][[error_at=2]][[nousage={int(not told)}]] one two three four five six"
    _, reply = failed_send(alice, conversation, content, status=429 if status == 429 else 503, error=error)
    assert reply["content"]
    assert "Echo: one two three four five six".startswith(reply["content"])
    usage = reply["usage"]
    assert ledger(alice) == [usage]
    assert usage["estimated"] is not told
    if not told:
        counts = (estimate_tokens(content), estimate_tokens(reply["content"]))
        assert (usage["input_tokens"], usage["output_tokens"]) == counts
    assert min(usage["input_tokens"], usage["output_tokens"]) > 0


@pytest.mark.parametrize("ending", ["[[cut=4]][[cut_by=close]]", "[[error=503]][[error_at=4]]"])
def test_text_after_the_last_counts_is_charged_by_estimate(alice: Person, model_calls: ModelCalls, ending: str) -> None:
    conversation = alice.new_conversation(title="Ends")
    content = f"[[chunks=6]][[gap=0.05]][[counted=2]]{ending}counts-{alice.id} two three four five six"
    _, reply = failed_send(alice, conversation, content, status=503, error=UNAVAILABLE)
    (call,) = model_calls(f"counts-{alice.id}")
    told, untold = f"Echo: counts-{alice.id}", " two three"
    assert reply["content"] == told + untold
    usage = reply["usage"]
    assert (usage["input_tokens"], usage["estimated"]) == (call["prompt_tokens"], True)
    assert usage["output_tokens"] == -(-len(told) // 4) + estimate_tokens(untold)
    assert ledger(alice) == [usage]


def test_counts_before_the_last_chunk_are_the_counts_if_no_text_comes_after_them(
    alice: Person, model_calls: ModelCalls
) -> None:
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 3, "thoughtsTokenCount": 2}
    prompt = raw(chunk("some words", usageMetadata=usage), chunk(None, "STOP"))
    answer = alice.post("ai/complete", json={"prompt": prompt}).json()
    assert (answer["text"], answer["finish_reason"]) == ("some words", "STOP")
    counts = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12, "cached_tokens": 0, "thinking_tokens": 2}
    assert answer["usage"] == {**counts, "estimated": False}


def test_an_error_instead_of_the_first_text_is_a_refusal(alice: Person) -> None:
    conversation = alice.new_conversation(title="Ends")
    content = "[[chunks=4]][[error=503]] one two three four"
    _, reply = failed_send(alice, conversation, content, status=503, error=UNAVAILABLE)
    assert (reply["content"], reply["usage"], ledger(alice)) == ("", NO_TOKENS, [NO_TOKENS])


def retry_info(delay: Any) -> str:
    return "[[status=429]]" + details([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}])


def details(value: Any) -> str:
    return f"[[details={quote(json.dumps(value), safe='')}]]"


@pytest.mark.parametrize(
    ("directives", "status", "retry_after"),
    [
        ("[[status=429]][[retry_after=17]]", 429, "17"),
        ("[[status=429]][[retry_after=17]][[retry=40]]", 429, "40"),
        ("[[status=429]][[retry_after=60]][[retry=40]]", 429, "60"),
        ("[[status=429]][[retry_after=0]]", 429, "1"),
        ("[[status=429]][[retry_after=soon]]", 429, "30"),
        ("[[status=429]][[retry_after=-5]]", 429, "30"),
        ("[[status=429]][[retry_after=99999999999999]]", 429, "86400"),
        ("[[status=429]][[retry_after=Thu, 01 Jan 1970 00:00:00 GMT]]", 429, "1"),
        ("[[status=503]][[retry_after=9]]", 503, "9"),
        ("[[status=503]][[retry=8]]", 503, "8"),
        ("[[status=429]][[retry_after=1.2]]", 429, "2"),
        (f"[[status=429]][[retry_after={'9' * 400}]]", 429, "86400"),
        (retry_info("1.5s"), 429, "2"),
        (retry_info("0s"), 429, "1"),
        (retry_info("0.000000001s"), 429, "1"),
        (retry_info(f"{'9' * 30}s"), 429, "86400"),
        (retry_info("-3s"), 429, "30"),
        (retry_info(12), 429, "30"),
        (retry_info(None), 429, "30"),
        (f"{retry_info('1.5s')}[[retry_after=3]]", 429, "3"),
        ("[[status=429]][[details=7]]", 429, "30"),
        ("[[status=429]]" + details({"retryDelay": "5s"}), 429, "30"),
        ("[[status=429]]" + details(["5s", None, [1]]), 429, "30"),
    ],
)
def test_what_the_model_asks_to_wait_is_told(
    alice: Person, directives: str, status: int, retry_after: str | None
) -> None:
    answer = alice.post("ai/complete", json={"prompt": f"{directives}wait"})
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, retry_after)


def test_a_date_until_which_to_wait_is_told_in_seconds(alice: Person) -> None:
    date = formatdate(time.time() + 3000, usegmt=True)
    conversation = alice.new_conversation(title="Ends")
    answer = alice.say(conversation, f"[[status=429]][[retry_after={quote(date)}]]wait")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 3000


@pytest.mark.parametrize("text", ["", "[[empty=1]]"])
def test_one_call_is_one_request(alice: Person, model_calls: ModelCalls, text: str) -> None:
    """Also if the model's answer says that another request would continue it."""
    prompt = f"[[finish=CONTINUATION]][[continuation=dG9rZW4=]]{text}once-{alice.id}"
    alice.post("ai/complete", json={"prompt": prompt})
    assert len(model_calls(f"once-{alice.id}")) == 1
    cut = f"[[chunks=4]][[cut=2]][[continuation=dG9rZW4=]]{text}cut-{alice.id} one two three"
    alice.post("ai/complete", json={"prompt": cut})
    assert len(model_calls(f"cut-{alice.id}")) == 1


def test_what_tools_add_to_the_prompt_is_input(alice: Person, model_calls: ModelCalls) -> None:
    answer = alice.post("ai/complete", json={"prompt": f"[[tools=30]][[thoughts=2]]tools-{alice.id}"}).json()
    (call,) = model_calls(f"tools-{alice.id}")
    counts = (call["prompt_tokens"] + 30, call["output_tokens"] + 2)
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == counts


@pytest.mark.parametrize(
    ("version", "model"),
    [
        ("models/gemini-3.5-flash-lite-001", "gemini-3.5-flash-lite-001"),
        ("%00", settings.GEMINI_MODEL),
        ("x" * 5000, settings.GEMINI_MODEL),
    ],
    ids=["a version", "none", "too long"],
)
def test_the_model_that_answered_is_told(alice: Person, version: str, model: str) -> None:
    answer = alice.post("ai/complete", json={"prompt": f"[[version={version}]]who"})
    assert (answer.status_code, answer.json()["model"]) == (200, model)
