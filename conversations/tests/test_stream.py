"""Streaming a reply, and following it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2

from conftest import Person
from conversations.tests.events import EVENT_STREAM, follow, read_events, stream_send


def test_a_streamed_send_tells_both_messages_then_the_text_then_the_end(alice: Person) -> None:
    conversation = alice.new_conversation()
    events = stream_send(alice, conversation, "[[chunks=4]][[gap=0.05]]one two three four 😀 five")
    assert events[0] == {"retry": "1000"}
    assert [told["event"] for told in events[1:]] == ["message", *["delta"] * (len(events) - 3), "done"]
    opening, final = events[1]["data"], events[-1]["data"]
    assert opening["user_message"]["content"] == "[[chunks=4]][[gap=0.05]]one two three four 😀 five"
    assert (opening["model_message"]["status"], opening["model_message"]["content"]) == ("generating", "")
    assert final["status"] == "complete"
    assert "".join(told["data"]["text"] for told in events if told.get("event") == "delta") == final["content"]
    assert alice.messages(conversation)["messages"] == [opening["user_message"], final]


def test_a_path_of_its_own_answers_with_the_same_events(alice: Person) -> None:
    conversation = alice.new_conversation()
    path = f"chat/conversations/{conversation}/messages"
    with alice.stream("POST", f"chat/conversations/{conversation}/messages/stream", json={"content": "one"}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        sent = list(read_events(answer.iter_lines()))
    assert [told.get("event") for told in sent] == [None, "message", *["delta"] * (len(sent) - 3), "done"]
    mid = sent[-1]["data"]["id"]
    with alice.stream("POST", f"chat/conversations/{conversation}/messages/{mid}/regenerate/stream", json={}) as answer:
        again = list(read_events(answer.iter_lines()))
    assert (again[-1]["event"], len(again[-1]["data"]["variants"])) == ("done", 1)
    assert alice.messages(conversation)["messages"][-1] == again[-1]["data"]
    assert alice.post(f"{path}/{mid}/regenerate/stream", json={"content": 5}).status_code == 422


def test_every_resume_point_gives_exactly_the_missing_rest(alice: Person) -> None:
    conversation = alice.new_conversation()
    events = stream_send(alice, conversation, "[[chunks=6]][[gap=0.02]]a 😀 b 👩‍👩‍👧 c d e f g h")
    final = events[-1]["data"]
    told = ""
    for seen in events[1:-1]:
        told += seen["data"].get("text", "")
        status, rest = follow(alice, conversation, final["id"], seen["id"])
        assert status == 200
        assert told + "".join(e["data"]["text"] for e in rest if e.get("event") == "delta") == final["content"]
        assert rest[-1] == {"event": "done", "id": events[-1]["id"], "data": final}
    assert follow(alice, conversation, final["id"], events[-1]["id"]) == (204, [])


def test_a_reply_is_finished_though_its_client_went_away(alice: Person, eventually: Callable[..., Any]) -> None:
    conversation = alice.new_conversation()
    path = f"chat/conversations/{conversation}/messages"
    body = {"content": "[[chunks=10]][[gap=0.05]]one two three four five six seven eight nine ten"}
    with alice.stream("POST", path, json=body, headers=EVENT_STREAM) as answer:
        next(read_events(answer.iter_lines()))
    message = eventually(
        lambda: next(
            (m for m in alice.messages(conversation)["messages"] if m["status"] == "complete" and m["seq"] == 2), None
        )
    )
    assert message["content"].startswith("Echo: one two")


def test_followers_on_any_process_get_the_same_text(alice: Person) -> None:
    conversation = alice.new_conversation()
    path = f"chat/conversations/{conversation}/messages"
    body = {"content": "[[chunks=20]][[gap=0.1]]" + " ".join(f"word{n}" for n in range(40))}
    with alice.stream("POST", path, json=body, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        next(events)
        opening = next(events)
        mid = opening["data"]["model_message"]["id"]
        # New connections are distributed over the processes.
        others = [httpx2.Client(headers=alice.headers, base_url=alice.base_url, timeout=30) for _ in range(6)]
        streams = []
        for other in others:
            with other.stream("GET", f"{path}/{mid}/stream", headers={"Last-Event-ID": opening["id"]}) as followed:
                streams.append(list(read_events(followed.iter_lines())))
            other.close()
        final = list(events)[-1]["data"]
    for stream in streams:
        assert "".join(told["data"]["text"] for told in stream if told.get("event") == "delta") == final["content"]
        assert stream[-1]["data"] == final


def test_stop_keeps_the_text_so_far_and_ends_the_models_work(
    alice: Person, model_calls: Callable[[str], list[dict[str, Any]]], eventually: Callable[..., Any]
) -> None:
    conversation = alice.new_conversation()
    path = f"chat/conversations/{conversation}/messages"
    marker = f"stop-{conversation}"
    body = {"content": f"[[chunks=200]][[gap=0.1]][[length=4000]]{marker}"}
    with alice.stream("POST", path, json=body, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        next(events)
        mid = next(events)["data"]["model_message"]["id"]
        assert next(events)["event"] == "delta"
        stopped = alice.post(f"{path}/{mid}/stop")
        last = list(events)[-1]
    assert stopped.status_code == 200
    assert stopped.json()["status"] == "stopped"
    assert stopped.json()["content"]
    assert last["event"] == "done"
    assert last["data"] == stopped.json()
    assert eventually(lambda: [call["outcome"] for call in model_calls(marker)] == ["client_gone"])


def test_stop_before_the_first_token_answers_the_waiting_post(
    alice: Person, model_calls: Callable[[str], list[dict[str, Any]]], eventually: Callable[..., Any]
) -> None:
    conversation = alice.new_conversation()
    path = f"chat/conversations/{conversation}/messages"
    marker = f"stop-{conversation}"
    with alice.stream("POST", path, json={"content": f"[[delay=120]]{marker}"}, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        next(events)
        mid = next(events)["data"]["model_message"]["id"]
        eventually(lambda: model_calls(marker))
        stopped = alice.post(f"{path}/{mid}/stop").json()
        assert (stopped["status"], stopped["content"]) == ("stopped", "")
        assert list(events)[-1]["data"] == stopped
    assert eventually(lambda: [call["outcome"] for call in model_calls(marker)] == ["client_gone"])


def test_regenerate_keeps_the_old_answer_as_a_variant(alice: Person) -> None:
    conversation = alice.new_conversation()
    first = alice.say(conversation, "one").json()
    mid = first["model_message"]["id"]
    again = alice.post(f"chat/conversations/{conversation}/messages/{mid}/regenerate", json={"content": "two"})
    assert again.status_code == 200
    body = again.json()
    assert body["user_message"]["content"] == "two"
    assert [variant["content"] for variant in body["user_message"]["variants"]] == ["one"]
    assert body["model_message"]["content"] == "Echo: two"
    assert body["model_message"]["variants"] == [
        {"content": "Echo: one", "finish_reason": "STOP", "created_at": first["model_message"]["created_at"]}
    ]
    assert len(alice.messages(conversation)["messages"]) == 2
