"""The response, the stored messages and the charge of a send if the model fails, blocks or answers nonsense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conftest import Person
from edgechat.local.web import WebServer
from edgechat.tests.web_settings import APART, PRODUCTION, WITHOUT_MODEL
from usage.ledger.tokens import estimate_tokens
from usage.models import LedgerEntry

StartWeb = Callable[..., WebServer]
ModelCalls = Callable[[str], list[dict[str, Any]]]

UNAVAILABLE = {"detail": "The model is not available, please try again", "code": "model_unavailable"}
QUOTA = {"detail": "The model's quota is used up, please try again later", "code": "model_quota"}
NO_TOKENS = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "cached_tokens": 0,
    "thinking_tokens": 0,
    "estimated": False,
}


def ledger(person: Person) -> list[dict[str, Any]]:
    """The settled chat entries of a person, oldest first, in the form of a message's `usage`."""
    rows = LedgerEntry.objects.filter(user_id=person.id, purpose="chat", settled_at__isnull=False).order_by("id")
    return [
        {
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "total_tokens": row.input_tokens + row.output_tokens,
            "cached_tokens": row.cached_tokens,
            "thinking_tokens": row.thinking_tokens,
            "estimated": row.estimated,
        }
        for row in rows
    ]


def failed_send(person: Person, conversation: str, content: str, *, status: int, error: dict[str, str]) -> Any:
    """Send a message that must fail, and check the response and the stored messages; returns response and reply."""
    answer = person.say(conversation, content)
    told = answer.json()
    assert answer.status_code == status, answer.text
    context = told.pop("context")
    assert told == {**error, "request_id": answer.headers["X-Request-ID"]}
    question, reply = context["user_message"], context["model_message"]
    assert (question["content"], question["status"], question["role"]) == (content, "complete", "user")
    assert (reply["status"], reply["role"], reply["finish_reason"]) == ("failed", "model", None)
    assert person.messages(conversation, limit=2, latest="true")["messages"] == [question, reply]
    return answer, reply


def assert_next_send_works(person: Person, conversation: str, model_calls: ModelCalls) -> None:
    content = f"and-on-{person.id}"
    answer = person.say(conversation, content)
    assert (answer.status_code, answer.json()["model_message"]["content"]) == (200, f"Echo: {content}")
    # Failed exchanges are not sent to the model, because turns must alternate.
    assert model_calls(content)[0]["contents"] == [{"role": "user", "parts": [{"text": content}]}]


@pytest.mark.parametrize(
    ("directives", "status", "error", "retry_after"),
    [
        ("[[status=429]][[retry=7]]", 429, QUOTA, "7"),
        ("[[status=429]][[retry=0]]", 429, QUOTA, "1"),
        ("[[status=429]]", 429, QUOTA, "30"),
        ("[[status=500]]", 503, UNAVAILABLE, None),
        ("[[status=503]]", 503, UNAVAILABLE, None),
        ("[[status=400]]", 503, UNAVAILABLE, None),
        ("[[status=401]]", 503, UNAVAILABLE, None),
        ("[[status=404]]", 503, UNAVAILABLE, None),
    ],
)
def test_a_refusal_is_told_stored_and_not_charged(
    alice: Person,
    model_calls: ModelCalls,
    directives: str,
    status: int,
    error: dict[str, str],
    retry_after: str | None,
) -> None:
    conversation = alice.new_conversation(title="Faults")
    content = f"{directives} refused-{alice.id}"
    answer, reply = failed_send(alice, conversation, content, status=status, error=error)
    assert answer.headers.get("Retry-After") == retry_after
    assert (reply["content"], reply["usage"]) == ("", NO_TOKENS)
    assert ledger(alice) == [NO_TOKENS]
    assert len(model_calls(f"refused-{alice.id}")) == 1
    assert_next_send_works(alice, conversation, model_calls)


@pytest.mark.parametrize(
    "directives", ["[[cut=0]]", "[[cut=0]][[cut_by=close]]", "[[rubbish=1]]", "[[rubbish=2]]", "[[rubbish=3]]"]
)
def test_what_breaks_before_the_first_word_is_503_and_charged_by_estimate(
    alice: Person, model_calls: ModelCalls, directives: str
) -> None:
    conversation = alice.new_conversation(title="Faults", system_instruction="Be brief")
    content = f"{directives} broken-{alice.id}"
    answer, reply = failed_send(alice, conversation, content, status=503, error=UNAVAILABLE)
    assert "Retry-After" not in answer.headers
    tokens = estimate_tokens(content) + estimate_tokens("Be brief")
    assert reply["usage"] == {**NO_TOKENS, "input_tokens": tokens, "total_tokens": tokens, "estimated": True}
    assert reply["content"] == ""
    assert ledger(alice) == [reply["usage"]]
    assert len(model_calls(f"broken-{alice.id}")) == 1
    assert_next_send_works(alice, conversation, model_calls)


@pytest.mark.parametrize("cut_by", ["close", "reset"])
def test_a_stream_that_is_cut_keeps_and_charges_what_came(alice: Person, model_calls: ModelCalls, cut_by: str) -> None:
    conversation = alice.new_conversation(title="Faults")
    content = f"[[chunks=5]][[gap=0.1]][[cut=3]][[cut_by={cut_by}]] cut-{alice.id} one two three four five six"
    _, reply = failed_send(alice, conversation, content, status=503, error=UNAVAILABLE)
    (call,) = model_calls(f"cut-{alice.id}")
    assert reply["content"]
    assert f"Echo: cut-{alice.id} one two three four five six".startswith(reply["content"])
    assert ledger(alice) == [reply["usage"]]
    assert (reply["usage"]["input_tokens"], reply["usage"]["estimated"]) == (call["prompt_tokens"], False)
    if cut_by == "close":  # a reset may discard data in transit
        assert reply["usage"]["output_tokens"] == call["output_tokens"]
    assert_next_send_works(alice, conversation, model_calls)


def test_a_cut_stream_without_counts_is_charged_by_estimate(alice: Person) -> None:
    conversation = alice.new_conversation(title="Faults")
    content = "[[chunks=5]][[cut=3]][[cut_by=close]][[nousage=1]] one two three four five six"
    _, reply = failed_send(alice, conversation, content, status=503, error=UNAVAILABLE)
    given, came = estimate_tokens(content), estimate_tokens(reply["content"])
    assert came > 0
    expected = {"input_tokens": given, "output_tokens": came, "total_tokens": given + came, "estimated": True}
    assert reply["usage"] == {**NO_TOKENS, **expected}
    assert ledger(alice) == [reply["usage"]]


@pytest.mark.parametrize(
    ("block", "text"), [("prompt", ""), ("answer", ""), ("partial", "Echo: blocked-ID some words")]
)
def test_a_block_is_200_with_status_blocked(alice: Person, model_calls: ModelCalls, block: str, text: str) -> None:
    conversation = alice.new_conversation(title="Faults")
    answer = alice.say(conversation, f"[[block={block}]] blocked-{alice.id} some words")
    reply = answer.json()["model_message"]
    (call,) = model_calls(f"blocked-{alice.id}")
    assert (answer.status_code, reply["status"], reply["finish_reason"]) == (200, "blocked", "SAFETY")
    assert reply["content"] == text.replace("ID", str(alice.id))
    tokens = {"input_tokens": call["prompt_tokens"], "output_tokens": call["output_tokens"]}
    assert reply["usage"] == {**NO_TOKENS, **tokens, "total_tokens": sum(tokens.values())}
    assert ledger(alice) == [reply["usage"]]
    assert alice.messages(conversation)["messages"] == [answer.json()["user_message"], reply]
    assert_next_send_works(alice, conversation, model_calls)


def test_an_empty_answer_is_complete_and_left_out_of_the_history(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Faults")
    answer = alice.say(conversation, "[[empty=1]] nothing")
    reply = answer.json()["model_message"]
    assert (answer.status_code, reply["status"], reply["content"]) == (200, "complete", "")
    assert_next_send_works(alice, conversation, model_calls)


def test_thinking_and_cached_tokens_are_told_and_charged(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Faults")
    reply = alice.say(conversation, f"[[thoughts=9]][[cached=2]] thinking-{alice.id}").json()["model_message"]
    (call,) = model_calls(f"thinking-{alice.id}")
    given, written = call["prompt_tokens"], call["output_tokens"] + 9
    assert reply["usage"] == {
        "input_tokens": given,
        "output_tokens": written,
        "total_tokens": given + written,
        "cached_tokens": 2,
        "thinking_tokens": 9,
        "estimated": False,
    }
    assert ledger(alice) == [reply["usage"]]


def test_a_model_that_fails_once_answers_when_asked_again(alice: Person) -> None:
    conversation = alice.new_conversation(title="Faults")
    content = f"[[fail_first=1]][[key=once-{alice.id}]] words"
    _, reply = failed_send(alice, conversation, content, status=503, error=UNAVAILABLE)
    again = alice.post(f"chat/conversations/{conversation}/messages/{reply['id']}/regenerate", json={})
    assert (again.status_code, again.json()["model_message"]["content"]) == (200, "Echo: words")
    assert [row["total_tokens"] > 0 for row in ledger(alice)] == [False, True]


def test_a_model_that_hangs_is_503_after_the_timeout(
    start_web: StartWeb, model_calls: ModelCalls, web_url: str
) -> None:
    web = start_web(AI_TIMEOUT_SECONDS="5", **APART)
    carol = Person(web.url, "carol")
    conversation = carol.new_conversation(title="Faults")
    content = f"[[hang=60]] hang-{carol.id}"
    _, reply = failed_send(carol, conversation, content, status=503, error=UNAVAILABLE)
    tokens = estimate_tokens(content)
    assert reply["usage"] == {**NO_TOKENS, "input_tokens": tokens, "total_tokens": tokens, "estimated": True}
    assert ledger(carol) == [reply["usage"]]
    # The timeout limits the whole call, not the pause between two pieces.
    slow = "[[chunks=40]][[gap=0.4]]" + "word " * 40
    _, reply = failed_send(carol, conversation, slow, status=503, error=UNAVAILABLE)
    # On a slow machine the time is over before the first word.
    assert len(reply["content"]) < len("word " * 40)
    assert ("Echo: " + "word " * 40).startswith(reply["content"])
    assert_next_send_works(carol, conversation, model_calls)
    carol.close()


def test_a_model_server_that_is_not_there_is_503_and_not_charged(web_with: Callable[..., str]) -> None:
    carol = Person(web_with(**WITHOUT_MODEL), "carol")
    conversation = carol.new_conversation(title="Faults")
    _, reply = failed_send(carol, conversation, "hello", status=503, error=UNAVAILABLE)
    assert reply["content"] == ""
    assert not LedgerEntry.objects.filter(user_id=carol.id).exists()
    answers = [carol.post("ai/complete", json={"prompt": "hello"}), carol.get("ai/models")]
    assert [(each.status_code, each.json()["code"]) for each in answers] == [(503, "model_unavailable")] * 2
    assert not LedgerEntry.objects.filter(user_id=carol.id).exists()
    carol.close()


def test_no_key_in_production_is_503(web_with: Callable[..., str]) -> None:
    carol = Person(web_with(**PRODUCTION), "carol")
    conversation = carol.new_conversation(title="Faults")
    failed_send(carol, conversation, "hello", status=503, error=UNAVAILABLE)
    answers = [carol.post("ai/complete", json={"prompt": "hello"}), carol.get("ai/models")]
    assert [(each.status_code, each.json()["code"]) for each in answers] == [(503, "model_unavailable")] * 2
    assert not LedgerEntry.objects.filter(user_id=carol.id).exists()
    carol.close()
