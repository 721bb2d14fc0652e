"""The events of a streamed send, and the errors that are plain responses instead."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import httpx2
import httpx_sse
import pytest

from conftest import Api, Person
from conversations.tests.events import EVENT_STREAM, Event, read_events, stream_send, text_of
from usage.models import LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]
Eventually = Callable[..., Any]


@pytest.fixture
def conversation(alice: Person) -> str:
    return alice.new_conversation(title="Titled")


def names(events: list[Event]) -> str:
    return ",".join(told.get("event", next(iter(told))) for told in events)


@pytest.mark.parametrize(
    ("content", "status", "finish_reason"),
    [
        ("[[chunks=7]]😀 e\u0301te\u0301 👩‍👩‍👧 🇩🇪 line\r\nbreaks\r and\n\nblanks", "complete", "STOP"),
        ("[[length=20000]][[chunks=200]]", "complete", "STOP"),
        ("[[empty=1]]", "complete", "STOP"),
        ("[[chunks=4]][[block=partial]]not for you to read", "blocked", "SAFETY"),
        ("[[block=answer]]not for you to read", "blocked", "SAFETY"),
        ("[[block=prompt]]not for you to read", "blocked", "SAFETY"),
        ("[[chunks=6]][[gap=0.02]][[cut=3]]one two three four five six", "failed", None),
        ("[[chunks=6]][[gap=0.02]][[cut=3]][[cut_by=close]]one two three four five six", "failed", None),
    ],
)
def test_the_deltas_together_are_the_stored_text_whatever_the_end(
    alice: Person, conversation: str, content: str, status: str, finish_reason: str | None
) -> None:
    events = stream_send(alice, conversation, content)
    assert re.fullmatch("retry,message(,delta)*,done", names(events))
    final = events[-1]["data"]
    assert (final["status"], final["finish_reason"]) == (status, finish_reason)
    assert text_of(events) == final["content"]
    assert alice.messages(conversation)["messages"] == [events[1]["data"]["user_message"], final]
    assert bool(final["content"]) == (
        content not in ("[[empty=1]]",) and "=answer" not in content and "=prompt" not in content
    )


def test_every_event_has_an_id_of_its_own(alice: Person, conversation: str) -> None:
    events = stream_send(alice, conversation, "[[chunks=5]][[gap=0.05]]one two three four five")
    ids = [told["id"] for told in events[1:]]
    assert len(set(ids)) == len(ids) >= 3


def test_the_headers_keep_proxies_from_holding_the_stream_back(alice: Person, conversation: str) -> None:
    path = f"chat/conversations/{conversation}/messages"
    headers = {**EVENT_STREAM, "Accept-Encoding": "gzip, br"}
    with alice.stream("POST", path, json={"content": "[[length=5000]]"}, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].partition(";")[0] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-cache, no-transform"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in answer.headers
        assert "Content-Length" not in answer.headers
        lines = list(answer.iter_lines())
    assert lines[0] == "retry: 1000"


def test_the_query_parameter_asks_for_a_stream_too(alice: Person, conversation: str) -> None:
    path = f"chat/conversations/{conversation}/messages"
    with alice.stream("POST", path, params={"stream": "true"}, json={"content": "hello"}) as answer:
        events = list(read_events(answer.iter_lines()))
    assert names(events).startswith("retry,message,")
    plain = alice.post(path, params={"stream": "false"}, json={"content": "hello"})
    assert plain.json()["model_message"]["content"] == "Echo: hello"


def test_both_messages_are_told_before_the_model_has_said_anything(
    alice: Person, conversation: str, eventually: Eventually
) -> None:
    path = f"chat/conversations/{conversation}/messages"
    with alice.stream("POST", path, json={"content": "[[delay=120]]hello"}, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        assert next(events) == {"retry": "1000"}
        opening = next(events)
        assert opening["event"] == "message"
        pair = opening["data"]
        assert alice.messages(conversation)["messages"] == [pair["user_message"], pair["model_message"]]
        assert (pair["model_message"]["status"], pair["model_message"]["content"]) == ("generating", "")
        stopped = alice.post(f"{path}/{pair['model_message']['id']}/stop").json()
        rest = list(events)
    assert (names(rest), rest[0]["data"], stopped["status"]) == ("done", stopped, "stopped")


@pytest.mark.parametrize(
    ("content", "code", "detail"),
    [
        ("[[status=500]]", "model_unavailable", "The model is not available, please try again"),
        ("[[cut=0]]hello", "model_unavailable", "The model is not available, please try again"),
        ("[[rubbish=1]]", "model_unavailable", "The model is not available, please try again"),
        ("[[status=429]][[retry=7]]", "model_quota", "The model's quota is used up, please try again later"),
    ],
)
def test_a_reply_that_fails_without_text_ends_with_an_error(
    alice: Person, conversation: str, content: str, code: str, detail: str
) -> None:
    path = f"chat/conversations/{conversation}/messages"
    with alice.stream("POST", path, json={"content": content}, headers=EVENT_STREAM) as answer:
        request_id = answer.headers["X-Request-ID"]
        events = list(read_events(answer.iter_lines()))
    assert names(events) == "retry,message,error"
    assert events[-1]["data"] == {"detail": detail, "code": code, "request_id": request_id}
    stored = alice.messages(conversation)["messages"][1]
    assert (stored["status"], stored["content"]) == ("failed", "")
    with alice.stream("GET", f"{path}/{stored['id']}/stream") as answer:
        again = list(read_events(answer.iter_lines()))
    assert names(again) == "retry,error"
    assert (again[-1]["id"], again[-1]["data"]["code"]) == (events[-1]["id"], code)


def test_faults_before_the_first_event_are_plain_statuses(
    alice: Person, bob: Person, anonymous: Api, conversation: str
) -> None:
    path = f"chat/conversations/{conversation}/messages"
    alice.post(path, json={"content": "used", "client_message_id": "k1"})

    def refused(person: Api, **body: Any) -> tuple[int, str]:
        answer = person.post(path, json=body, headers=EVENT_STREAM)
        assert answer.headers["Content-Type"] == "application/json"
        assert set(answer.json()) >= {"detail", "code", "request_id"}
        return answer.status_code, answer.json()["code"]

    assert refused(anonymous, content="hello") == (401, "not_authenticated")
    assert refused(bob, content="hello") == (404, "not_found")
    assert refused(alice) == (422, "validation_error")
    assert refused(alice, content="x" * 32_001) == (422, "validation_error")
    assert refused(alice, content="other", client_message_id="k1") == (409, "idempotency_conflict")
    with alice.stream("POST", path, json={"content": "[[delay=120]]"}, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        next(events)
        mid = next(events)["data"]["model_message"]["id"]
        assert refused(alice, content="hello") == (409, "generation_in_progress")
        alice.post(f"{path}/{mid}/stop")
        list(events)
    for mid in ("x", f"{conversation}:00000001", f"{conversation}:00000099"):
        answer = alice.get(f"{path}/{mid}/stream")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Message not found")
    assert bob.get(f"{path}/{conversation}:00000002/stream").status_code == 404
    assert anonymous.get(f"{path}/{conversation}:00000002/stream").status_code == 401


def test_a_silent_model_does_not_let_the_connection_fall_silent(alice: Person, conversation: str) -> None:
    path = f"chat/conversations/{conversation}/messages"
    with alice.stream("POST", path, json={"content": "[[delay=16]]hello"}, headers=EVENT_STREAM) as answer:
        events = list(read_events(answer.iter_lines()))
    assert events[2] == {"comment": ": ping"}
    assert re.fullmatch("retry,message,comment(,delta)+,done", names(events))
    assert text_of(events) == "Echo: hello"


def test_twenty_sends_with_one_key_streamed_and_plain_are_one_reply(
    alice: Person, conversation: str, model_calls: ModelCalls
) -> None:
    marker = f"mixed-{conversation}"
    content = f"[[chunks=4]][[gap=0.3]]one two three {marker}"
    together = threading.Barrier(20)

    def send(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        together.wait()
        if number % 2:
            answer = alice.say(conversation, content, client_message_id="k1")
            assert answer.status_code == 200, answer.text
            return answer.json()["user_message"], answer.json()["model_message"]
        events = stream_send(alice, conversation, content, client_message_id="k1")
        assert text_of(events) == events[-1]["data"]["content"]
        return events[1]["data"]["user_message"], events[-1]["data"]

    with ThreadPoolExecutor(20) as pool:
        pairs = list(pool.map(send, range(20)))
    assert pairs == [pairs[0]] * 20
    assert alice.messages(conversation)["messages"] == list(pairs[0])
    assert len(model_calls(f"three {marker}")) == 1
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == 1


def test_sent_again_after_the_end_it_is_streamed_from_the_store(
    alice: Person, conversation: str, model_calls: ModelCalls
) -> None:
    content = f"[[chunks=3]]one two again-{conversation}"
    first = alice.say(conversation, content, client_message_id="k1").json()
    events = stream_send(alice, conversation, content, client_message_id="k1")
    assert names(events) == "retry,message,delta,done"
    begun = {**first["model_message"], "content": "", "status": "generating", "finish_reason": None, "usage": None}
    assert events[1]["data"] == {"user_message": first["user_message"], "model_message": begun}
    assert (text_of(events), events[-1]["data"]) == (first["model_message"]["content"], first["model_message"])
    assert len(model_calls(f"again-{conversation}")) == 1


def test_a_client_made_by_others_reads_the_stream(alice: Person, conversation: str) -> None:
    path = f"{alice.base_url}chat/conversations/{conversation}/messages"
    headers = {"Authorization": alice.headers["Authorization"]}
    body = {"content": "[[chunks=3]][[gap=0.05]]one\ntwo 😀 three"}
    with httpx.Client(headers=headers, timeout=60, trust_env=False) as client:
        with httpx_sse.connect_sse(client, "POST", path, json=body) as source:
            told = list(source.iter_sse())
        final = told[-1].json()
        resumed_at = next(each for each in told if each.event == "delta").id
        with httpx_sse.connect_sse(
            client, "GET", f"{path}/{final['id']}/stream", headers={"Last-Event-ID": resumed_at}
        ) as source:
            rest = list(source.iter_sse())
    assert {each.event for each in told} == {"message", "delta", "done"}
    assert told[0].retry == 1000
    text = "".join(each.json()["text"] for each in told if each.event == "delta")
    assert text == final["content"] == "Echo: one\ntwo 😀 three"
    first = next(each for each in told if each.event == "delta").json()["text"]
    assert first + "".join(each.json()["text"] for each in rest if each.event == "delta") == text
    assert (rest[-1].event, rest[-1].json()) == ("done", final)


def test_a_stream_that_nobody_reads_to_its_end_does_not_hold_the_next_message_up(
    alice: Person, conversation: str, eventually: Eventually
) -> None:
    path = f"chat/conversations/{conversation}/messages"
    body = {"content": "[[chunks=3]][[gap=0.1]]one two three"}
    with alice.stream("POST", path, json=body, headers=EVENT_STREAM) as answer:
        next(read_events(answer.iter_lines()))
    sent: httpx2.Response = eventually(
        lambda: answer if (answer := alice.say(conversation, "next")).status_code == 200 else None
    )
    assert sent.json()["user_message"]["seq"] == 3


def test_lines_of_events_end_where_every_reader_sees_them_end(alice: Person, conversation: str) -> None:
    said = "one\u2028two\u2029three\u0085four\x0bfive"
    path = f"chat/conversations/{conversation}/messages"
    answer = alice.post(path, json={"content": said}, headers=EVENT_STREAM)
    assert answer.text.splitlines() == answer.text.removesuffix("\n").split("\n")
    events = list(read_events(answer.text.splitlines()))
    assert text_of(events) == events[-1]["data"]["content"] == f"Echo: {said}"
    assert alice.messages(conversation)["messages"][0]["content"] == said
