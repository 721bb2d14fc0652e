"""POST /chat/conversations/{id}/messages/{mid}/regenerate: a new answer, and an edited question."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from conftest import Person
from conversations.tests.events import EVENT_STREAM, read_events, text_of
from usage.models import LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]


def regenerate(person: Person, message: dict[str, Any], **body: Any) -> httpx2.Response:
    conversation = message["id"].partition(":")[0]
    return person.post(f"chat/conversations/{conversation}/messages/{message['id']}/regenerate", json=body)


def variants(message: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(variant["content"], variant["finish_reason"]) for variant in message["variants"]]


@pytest.fixture
def conversation(alice: Person) -> str:
    return alice.new_conversation(title="Titled")


@pytest.mark.parametrize("named", ["user_message", "model_message"])
def test_either_message_of_the_last_exchange_names_it(alice: Person, conversation: str, named: str) -> None:
    first = alice.say(conversation, "one", client_message_id="k1").json()
    again = regenerate(alice, first[named], content="two")
    assert again.status_code == 200
    pair = again.json()
    assert pair == {
        "user_message": {
            **first["user_message"],
            "content": "two",
            "variants": [{"content": "one", "finish_reason": None, "created_at": first["user_message"]["created_at"]}],
        },
        "model_message": {
            **first["model_message"],
            "content": "Echo: two",
            "usage": pair["model_message"]["usage"],
            "variants": [
                {"content": "Echo: one", "finish_reason": "STOP", "created_at": first["model_message"]["created_at"]}
            ],
        },
    }
    assert alice.messages(conversation)["messages"] == [pair["user_message"], pair["model_message"]]
    assert alice.get(f"chat/conversations/{conversation}").json()["message_count"] == 2


def test_without_content_the_question_stays_and_the_variants_grow(alice: Person, conversation: str) -> None:
    pair = alice.say(conversation, "one").json()
    for content in (None, "two", "two", None):
        answer = regenerate(alice, pair["model_message"], content=content)
        assert answer.status_code == 200
    last = answer.json()
    assert (last["user_message"]["content"], last["model_message"]["content"]) == ("two", "Echo: two")
    assert variants(last["user_message"]) == [("one", None)]
    said = ["Echo: one", "Echo: one", "Echo: two", "Echo: two"]
    assert variants(last["model_message"]) == [(text, "STOP") for text in said]


def test_an_edited_message_sees_the_exchanges_before_it_only(
    alice: Person, conversation: str, model_calls: ModelCalls
) -> None:
    alice.say(conversation, "before")
    pair = alice.say(conversation, "wrong").json()
    marker = f"right-{conversation}"
    regenerate(alice, pair["user_message"], content=marker)
    (call,) = model_calls(marker)
    assert [(turn["role"], turn["parts"][0]["text"]) for turn in call["contents"]] == [
        ("user", "before"),
        ("model", "Echo: before"),
        ("user", marker),
    ]


def test_only_the_last_exchange_can_be_answered_again(alice: Person, conversation: str) -> None:
    first = alice.say(conversation, "one").json()
    alice.say(conversation, "two")
    before = alice.messages(conversation)
    for message in first.values():
        answer = regenerate(alice, message)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_last_exchange")
    assert alice.messages(conversation) == before


def test_a_failed_reply_is_mended_and_leaves_no_variant(alice: Person, conversation: str) -> None:
    failed = alice.say(conversation, f"[[fail_first=1]][[key={conversation}]]hello")
    assert failed.status_code == 503
    pair = failed.json()["context"]
    assert pair["model_message"]["status"] == "failed"
    answer = regenerate(alice, pair["model_message"])
    assert answer.status_code == 200
    mended = answer.json()["model_message"]
    assert (mended["status"], mended["content"], mended["variants"]) == ("complete", "Echo: hello", [])
    assert answer.json()["user_message"] == pair["user_message"]


def test_a_failure_is_told_and_keeps_the_earlier_answer_as_a_variant(alice: Person, conversation: str) -> None:
    pair = alice.say(conversation, "one").json()
    answer = regenerate(alice, pair["model_message"], content="[[status=429]][[retry=7]]two")
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (429, "model_quota", "7")
    failed = answer.json()["context"]["model_message"]
    assert (failed["status"], failed["content"], variants(failed)) == ("failed", "", [("Echo: one", "STOP")])
    mended = regenerate(alice, failed, content="three").json()["model_message"]
    assert (mended["content"], variants(mended)) == ("Echo: three", [("Echo: one", "STOP")])


def test_while_a_reply_is_written_it_is_409_and_names_it(alice: Person, conversation: str) -> None:
    first = alice.say(conversation, "one").json()
    path = f"chat/conversations/{conversation}/messages"
    with alice.stream("POST", path, json={"content": "[[delay=120]]two"}, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        next(events)
        running = next(events)["data"]["model_message"]
        for message in (running, first["model_message"]):
            refused = regenerate(alice, message)
            assert refused.status_code == 409
            assert refused.json() == {
                "detail": "A reply is being written in this conversation",
                "code": "generation_in_progress",
                "request_id": refused.headers["X-Request-ID"],
                "context": {"message_id": running["id"]},
            }
        alice.post(f"{path}/{running['id']}/stop")
        list(events)


def test_twenty_at_once_make_one_call(
    alice: Person, conversation: str, model_calls: ModelCalls, eventually: Callable[..., Any]
) -> None:
    pair = alice.say(conversation, "one").json()
    marker = f"again-{conversation}"
    with ThreadPoolExecutor(20) as pool:
        edits = [
            pool.submit(regenerate, alice, pair["user_message"], content=f"[[delay=120]]{marker}") for _ in range(20)
        ]
        eventually(lambda: sum(edit.done() for edit in edits) == 19)
        eventually(lambda: model_calls(marker))
        stopped = alice.post(f"chat/conversations/{conversation}/messages/{pair['model_message']['id']}/stop")
        assert stopped.json()["status"] == "stopped"
    answers = sorted((edit.result() for edit in edits), key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in answers] == [200] + [409] * 19
    assert variants(answers[0].json()["model_message"]) == [("Echo: one", "STOP")]
    assert len(model_calls(marker)) == 1
    attempts = LedgerEntry.objects.filter(user_id=alice.id, purpose="chat").order_by("id")
    mid = pair["model_message"]["id"]
    assert [entry.attempt_id.rpartition(":")[0] for entry in attempts] == [f"{mid}:1", f"{mid}:2"]


def test_it_streams_and_the_deltas_are_the_new_answer(alice: Person, conversation: str) -> None:
    pair = alice.say(conversation, "one").json()
    mid = pair["model_message"]["id"]
    path = f"chat/conversations/{conversation}/messages/{mid}/regenerate"
    body = {"content": "[[chunks=4]][[gap=0.05]]two three 😀 four"}
    with alice.stream("POST", path, json=body, headers=EVENT_STREAM) as answer:
        assert answer.status_code == 200
        events = list(read_events(answer.iter_lines()))
    assert events[0] == {"retry": "1000"}
    names = [told["event"] for told in events[1:]]
    assert re.fullmatch("message(,delta)+,done", ",".join(names))
    opening, final = events[1]["data"], events[-1]["data"]
    assert opening["user_message"]["content"] == body["content"]
    assert (opening["model_message"]["id"], opening["model_message"]["status"]) == (mid, "generating")
    assert text_of(events) == final["content"] == "Echo: two three 😀 four"
    assert variants(final) == [("Echo: one", "STOP")]


def test_a_message_that_is_too_long_is_refused_and_nothing_changes(alice: Person, conversation: str) -> None:
    pair = alice.say(conversation, "one").json()
    answer = regenerate(alice, pair["model_message"], content="x" * 32_001)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.content")
    for content in ("", {"a": 1}):
        assert regenerate(alice, pair["model_message"], content=content).status_code == 422
    assert alice.messages(conversation)["messages"] == [pair["user_message"], pair["model_message"]]


def test_a_strangers_and_an_absent_message_are_404(alice: Person, bob: Person, conversation: str) -> None:
    message = alice.say(conversation, "one").json()["model_message"]
    answer = regenerate(bob, message)
    assert (answer.status_code, answer.json()["detail"]) == (404, "Conversation not found")
    for mid in (f"{conversation}:00000009", f"{conversation}:00000000", "x", f"{'0' * 24}:00000002"):
        answer = alice.post(f"chat/conversations/{conversation}/messages/{mid}/regenerate")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Message not found")
