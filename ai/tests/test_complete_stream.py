"""POST /ai/complete as an event stream."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Api, Person
from usage.models import LedgerEntry

EVENT_STREAM = {"Accept": "text/event-stream"}
ModelCalls = Callable[[str], list[dict[str, Any]]]
Eventually = Callable[..., Any]


def read_events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """The events of a stream as (name, data); `retry` as ("retry", its text)."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
        elif field == "retry":
            yield "retry", value
        else:
            assert line == ""


def complete(person: Api, prompt: str, **body: Any) -> list[tuple[str, Any]]:
    with person.stream("POST", "ai/complete", json={"prompt": prompt, **body}, headers=EVENT_STREAM) as answer:
        assert answer.status_code == 200, answer.read()
        return list(read_events(answer.iter_lines()))


def text_of(events: list[tuple[str, Any]]) -> str:
    return "".join(data["text"] for name, data in events if name == "delta")


def test_a_path_of_its_own_answers_with_events_without_a_header(alice: Person) -> None:
    for path, body in (("ai/complete/stream", {"prompt": "one"}), ("ai/summarize/stream", {"text": "one two"})):
        with alice.stream("POST", path, json=body) as answer:
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
            events = list(read_events(answer.iter_lines()))
        assert (events[0], events[-1][0]) == (("retry", "1000"), "done")
    assert alice.post("ai/complete/stream", json={}).status_code == 422


@pytest.mark.parametrize(
    "prompt",
    [
        "[[chunks=6]][[gap=0.03]]one 😀 two 👩‍👩‍👧 three \r\n four",
        "[[length=20000]][[chunks=100]]",
        "[[empty=1]]",
    ],
)
def test_the_deltas_are_the_text_and_done_is_the_plain_answer(alice: Person, prompt: str) -> None:
    events = complete(alice, prompt)
    assert events[0] == ("retry", "1000")
    assert re.fullmatch("(delta,)*done", ",".join(name for name, _ in events[1:]))
    plain = alice.post("ai/complete", json={"prompt": prompt})
    assert plain.status_code == 200
    assert events[-1][1] == plain.json()
    assert text_of(events) == plain.json()["text"]
    rows = LedgerEntry.objects.filter(user_id=alice.id, purpose="complete").order_by("id")
    usage = plain.json()["usage"]
    assert [(row.input_tokens, row.output_tokens, row.estimated) for row in rows] == [
        (usage["input_tokens"], usage["output_tokens"], False)
    ] * 2


def test_the_first_words_come_before_the_last_are_written(
    alice: Person, model_calls: ModelCalls, eventually: Eventually
) -> None:
    marker = f"early-{alice.id}"
    prompt = f"[[chunks=600]][[gap=0.2]]{marker} " + "word " * 600
    with alice.stream("POST", "ai/complete", json={"prompt": prompt}, headers=EVENT_STREAM) as answer:
        assert answer.headers["Content-Type"].partition(";")[0] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-cache, no-transform"
        assert answer.headers["X-Accel-Buffering"] == "no"
        events = read_events(answer.iter_lines())
        assert next(events) == ("retry", "1000")
        name, data = next(events)
        assert (name, data["text"].split()[0]) == ("delta", "Echo:")
        assert [call["outcome"] for call in model_calls(marker)] == ["running"]
    # The disconnect ended the call, and the ledger entry counts the text up to then.
    (call,) = eventually(lambda: [call for call in model_calls(marker) if call["outcome"] != "running"])
    assert call["outcome"] == "client_gone"
    row = eventually(lambda: LedgerEntry.objects.filter(user_id=alice.id, settled_at__isnull=False).first())
    assert row.purpose == "complete"
    assert row.input_tokens == call["prompt_tokens"]
    assert 0 < row.output_tokens <= call["output_tokens"]
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == 1


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        ("[[status=500]]", 503, "model_unavailable"),
        ("[[cut=0]]hello", 503, "model_unavailable"),
        ("[[rubbish=1]]", 503, "model_unavailable"),
        ("[[status=429]][[retry=7]]", 429, "model_quota"),
        ("[[block=prompt]]", 422, "content_blocked"),
        ("[[block=answer]]", 422, "content_blocked"),
    ],
)
def test_a_failure_before_the_first_text_is_a_plain_status(alice: Person, prompt: str, status: int, code: str) -> None:
    answer = alice.post("ai/complete", json={"prompt": prompt}, headers=EVENT_STREAM)
    assert answer.headers["Content-Type"] == "application/json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    plain = alice.post("ai/complete", json={"prompt": prompt})
    assert {**plain.json(), "request_id": ""} == {**answer.json(), "request_id": ""}
    assert answer.headers.get("Retry-After") == plain.headers.get("Retry-After")


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("[[chunks=4]][[gap=0.05]][[cut=2]]one two three four", "model_unavailable"),
        ("[[chunks=4]][[gap=0.05]][[cut=2]][[cut_by=close]]one two three four", "model_unavailable"),
        ("[[chunks=4]][[gap=0.05]][[block=partial]]one two three four", "content_blocked"),
    ],
)
def test_a_failure_after_text_is_an_error_event(alice: Person, prompt: str, code: str) -> None:
    with alice.stream("POST", "ai/complete", json={"prompt": prompt}, headers=EVENT_STREAM) as answer:
        request_id = answer.headers["X-Request-ID"]
        events = list(read_events(answer.iter_lines()))
    assert re.fullmatch("retry,(delta,)+error", ",".join(name for name, _ in events))
    assert (events[-1][1]["code"], events[-1][1]["request_id"]) == (code, request_id)
    assert LedgerEntry.objects.get(user_id=alice.id).output_tokens > 0


def test_what_is_wrong_with_the_request_is_a_plain_status(alice: Person, anonymous: Api) -> None:
    for person, body, status in (
        (anonymous, {"prompt": "hello"}, 401),
        (alice, {}, 422),
        (alice, {"prompt": ""}, 422),
        (alice, {"prompt": "😀" * 32_000}, 413),
    ):
        answer = person.post("ai/complete", json=body, headers=EVENT_STREAM)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert not LedgerEntry.objects.filter(user_id=alice.id).exists()


def test_the_query_parameter_asks_for_a_stream_too(alice: Person) -> None:
    with alice.stream("POST", "ai/complete", params={"stream": "true"}, json={"prompt": "hello"}) as answer:
        events = list(read_events(answer.iter_lines()))
    assert (text_of(events), events[-1][0]) == ("Echo: hello", "done")
