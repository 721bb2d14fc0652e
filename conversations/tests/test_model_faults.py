"""A model that fails in any way: the right answer, the user's message stored, nothing of its error told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conftest import Person, assert_error
from edgechat.local.web import WebServer
from usage.models import LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]
UNAVAILABLE = (503, "model_unavailable", "The model is not available, please try again")
QUOTA = (429, "model_quota", "The model's quota is used up, please try again later")

FAULTS: dict[str, tuple[tuple[int, str, str], str | None, str]] = {
    "[[status=429]][[retry=7]]": (QUOTA, "7", ""),
    "[[status=429]][[retry=0]]": (QUOTA, "30", ""),
    "[[status=429]]": (QUOTA, "30", ""),
    "[[status=400]]": (UNAVAILABLE, None, ""),
    "[[status=401]]": (UNAVAILABLE, None, ""),
    "[[status=403]]": (UNAVAILABLE, None, ""),
    "[[status=404]]": (UNAVAILABLE, None, ""),
    "[[status=500]]": (UNAVAILABLE, None, ""),
    "[[status=503]]": (UNAVAILABLE, None, ""),
    "[[status=504]]": (UNAVAILABLE, None, ""),
    "[[status=599]]": (UNAVAILABLE, None, ""),
    "[[hang=0]]": (UNAVAILABLE, None, ""),
    "[[rubbish=1]]": (UNAVAILABLE, None, ""),
    "[[rubbish=2]]": (UNAVAILABLE, None, ""),
    "[[rubbish=3]]": (UNAVAILABLE, None, ""),
    "[[cut=0]]": (UNAVAILABLE, None, ""),
    "[[say=one two three four]][[chunks=4]][[gap=0.2]][[cut=2]]": (UNAVAILABLE, None, "one two"),
    "[[say=one two three four]][[chunks=4]][[gap=0.2]][[cut=2]][[cut_by=close]]": (UNAVAILABLE, None, "one two"),
}


@pytest.mark.parametrize("directive", FAULTS)
def test_a_fault_of_the_model_keeps_the_message(alice: Person, directive: str, model_calls: ModelCalls) -> None:
    (status, code, detail), retry_after, partial = FAULTS[directive]
    conversation = alice.new_conversation(title="Talk")
    text = f"{conversation} {directive}"
    answer = alice.say(conversation, text, client_message_id="k")
    stored = alice.messages(conversation)["messages"]
    context = dict(zip(("user_message", "model_message"), stored, strict=True))
    assert_error(answer, status, code, detail, context=context)
    assert answer.headers.get("Retry-After") == retry_after
    user, model = stored
    assert (user["content"], user["status"], user["client_message_id"]) == (text, "complete", "k")
    assert (model["role"], model["content"], model["status"]) == ("model", partial, "failed")
    assert len(model_calls(conversation)) == 1

    again = alice.say(conversation, f"again {conversation}")
    assert again.status_code == 200
    assert again.json()["model_message"]["seq"] == 4
    sent = [turn["parts"][0]["text"] for turn in model_calls(f"again {conversation}")[0]["contents"]]
    assert sent == [f"again {conversation}"], "an exchange that failed is no part of the history"


@pytest.mark.parametrize(
    ("directive", "content", "reason"),
    [
        ("[[block=prompt]]", "", "SAFETY"),
        ("[[block=answer]]", "", "SAFETY"),
        ("[[say=one two]][[block=partial]]", "one two", "SAFETY"),
        ("[[say=one]][[finish=RECITATION]]", "one", "RECITATION"),
        ("[[say=one]][[finish=PROHIBITED_CONTENT]]", "one", "PROHIBITED_CONTENT"),
    ],
)
def test_a_safety_block_is_200_with_status_blocked(
    alice: Person, directive: str, content: str, reason: str, model_calls: ModelCalls
) -> None:
    conversation = alice.new_conversation(title="Talk")
    answer = alice.say(conversation, directive)
    model = answer.json()["model_message"]
    assert answer.status_code == 200
    assert (model["status"], model["content"], model["finish_reason"]) == ("blocked", content, reason)
    assert alice.messages(conversation)["messages"] == list(answer.json().values())
    assert alice.say(conversation, f"again {conversation}").status_code == 200
    assert len(model_calls(f"again {conversation}")[0]["contents"]) == 1


@pytest.mark.parametrize(
    ("directive", "content", "reason"),
    [
        ("[[empty=1]]", "", "STOP"),
        ("[[say=one]][[finish=MAX_TOKENS]]", "one", "MAX_TOKENS"),
        ("[[say=one]][[finish=A_REASON_OF_TOMORROW]]", "one", "A_REASON_OF_TOMORROW"),
    ],
)
def test_an_unusual_end_is_complete(alice: Person, directive: str, content: str, reason: str) -> None:
    model = alice.say(alice.new_conversation(title="Talk"), directive).json()["model_message"]
    assert (model["status"], model["content"], model["finish_reason"]) == ("complete", content, reason)


def test_a_model_that_does_not_count_is_charged_an_estimate(alice: Person) -> None:
    model = alice.say(alice.new_conversation(title="Talk"), "[[nousage=1]][[say=one two]]").json()["model_message"]
    assert model["usage"]["estimated"]
    assert model["usage"]["input_tokens"] > 0
    assert model["usage"]["output_tokens"] > 0
    entry = LedgerEntry.objects.get(user_id=alice.id)
    assert entry.estimated
    assert (entry.input_tokens, entry.output_tokens) == (
        model["usage"]["input_tokens"],
        model["usage"]["output_tokens"],
    )


def test_a_model_that_hangs_or_trickles_is_503_at_the_deadline(
    start_web: Callable[..., WebServer], register: Callable[..., Person]
) -> None:
    alice = register("alice", start_web(AI_TIMEOUT_SECONDS="0.7").url)
    hung, slow = alice.new_conversation(title="Talk"), alice.new_conversation(title="Talk")
    assert_error(
        alice.say(hung, "[[hang=30]]"),
        *UNAVAILABLE,
        context=dict(zip(("user_message", "model_message"), alice.messages(hung)["messages"], strict=True)),
    )
    answer = alice.say(slow, "[[length=2000]][[chunks=100]][[gap=0.1]]")
    stored = alice.messages(slow)["messages"]
    assert_error(answer, *UNAVAILABLE, context={"user_message": stored[0], "model_message": stored[1]})
    assert stored[1]["status"] == "failed"
    assert 0 < len(stored[1]["content"]) < 2000
    assert alice.say(hung, "hello").json()["model_message"]["content"] == "Echo: hello"
    assert_error(alice.post("ai/complete", json={"prompt": "[[hang=30]]"}), *UNAVAILABLE)


def test_without_a_model_a_send_is_503_and_nothing_is_charged(
    start_web: Callable[..., WebServer], register: Callable[..., Person]
) -> None:
    alice = register("alice", start_web(GEMINI_BASE_URL="http://127.0.0.1:9").url)
    conversation = alice.new_conversation(title="Talk")
    answer = alice.say(conversation, "hello")
    stored = alice.messages(conversation)["messages"]
    assert_error(answer, *UNAVAILABLE, context={"user_message": stored[0], "model_message": stored[1]})
    assert_error(alice.post("ai/complete", json={"prompt": "hello"}), *UNAVAILABLE)
    assert_error(alice.get("ai/models"), *UNAVAILABLE)
    assert not LedgerEntry.objects.filter(user_id=alice.id).exists()
    assert alice.get("usage/me").json()["tokens"]["total"] == 0
