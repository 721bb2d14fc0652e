"""Resuming a stream with Last-Event-ID."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conftest import Api, Person
from conversations.tests.events import EVENT_STREAM, follow, read_events, stream_send, text_of
from edgechat.stores.redis import redis_client
from edgechat.tests.web_settings import ELSEWHERE

TEXT = "[[chunks=5]][[gap=0.03]]one 😀 two 👩‍👩‍👧 three four"


@pytest.fixture
def conversation(alice: Person) -> str:
    return alice.new_conversation(title="Titled")


@pytest.mark.parametrize("last_id", [None, "rubbish", "1", "-1-0", "1-1-1", "٣-٣", "9" * 200, "1-x", "0-0"])
def test_without_an_id_or_with_one_that_is_not_ours_everything_is_told(
    alice: Person, conversation: str, last_id: str | None
) -> None:
    final = stream_send(alice, conversation, TEXT)[-1]
    headers = {} if last_id is None else {b"Last-Event-ID": last_id.encode()}
    path = f"chat/conversations/{conversation}/messages/{final['data']['id']}/stream"
    with alice.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        events = list(read_events(answer.iter_lines()))
    assert [told.get("event") for told in events] == [None, "delta", "done"]
    assert (text_of(events), events[-1]) == (final["data"]["content"], final)


def test_an_id_of_an_older_attempt_gets_a_restart_and_the_whole_text(alice: Person, conversation: str) -> None:
    old = stream_send(alice, conversation, TEXT)
    mid = old[-1]["data"]["id"]
    path = f"chat/conversations/{conversation}/messages/{mid}/regenerate"
    new = alice.post(path, json={"content": "another"}).json()["model_message"]
    for told in old[1:]:
        status, events = follow(alice, conversation, mid, told["id"])
        assert (status, [each.get("event") for each in events]) == (200, [None, "restart", "delta", "done"])
        assert events[1]["data"] == {}
        assert (text_of(events), events[-1]["data"]) == (new["content"], new)
    assert follow(alice, conversation, mid, events[-1]["id"]) == (204, [])


def test_an_older_attempts_id_gets_a_restart_while_the_new_one_runs(alice: Person, conversation: str) -> None:
    old = stream_send(alice, conversation, TEXT)
    mid = old[-1]["data"]["id"]
    path = f"chat/conversations/{conversation}/messages/{mid}/regenerate"
    body = {"content": "[[chunks=6]][[gap=0.2]]one two three four five six"}
    with alice.stream("POST", path, json=body, headers=EVENT_STREAM) as answer:
        running = read_events(answer.iter_lines())
        next(running)
        next(running)
        events = follow(alice, conversation, mid, old[-2]["id"])[1]
        final = list(running)[-1]["data"]
    assert events[1]["event"] == "restart"
    assert (text_of(events), events[-1]["data"]) == (final["content"], final)


def test_a_position_beyond_what_is_stored_begins_again(alice: Person, conversation: str) -> None:
    final = stream_send(alice, conversation, TEXT)[-1]["data"]
    for last_id in ("1-9999", "7-3", "7-end"):
        events = follow(alice, conversation, final["id"], last_id)[1]
        assert [told.get("event") for told in events] == [None, "restart", "delta", "done"]
        assert (text_of(events), events[-1]["data"]) == (final["content"], final)


def test_when_redis_has_forgotten_the_stream_the_stored_message_answers(alice: Person, conversation: str) -> None:
    told = stream_send(alice, conversation, TEXT)
    final = told[-1]["data"]
    redis_client().delete(f"edgechat:reply:{{edgechat:live}}:{final['id']}")
    seen = ""
    for each in told[1:-1]:
        seen += each["data"].get("text", "")
        rest = follow(alice, conversation, final["id"], each["id"])[1]
        assert seen + text_of(rest) == final["content"]
        assert rest[-1] == told[-1]


def test_stopped_blocked_and_failed_replies_are_told_like_any_other(alice: Person, conversation: str) -> None:
    path = f"chat/conversations/{conversation}/messages"
    finals: list[dict[str, Any]] = [
        stream_send(alice, conversation, "[[chunks=4]][[block=partial]]one two three four")[-1],
        stream_send(alice, conversation, "[[chunks=4]][[gap=0.02]][[cut=2]]one two three four")[-1],
    ]
    body = {"content": "[[chunks=50]][[gap=1]]" + "word " * 50}
    with alice.stream("POST", path, json=body, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        mid = [next(events) for _ in range(3)][1]["data"]["model_message"]["id"]
        alice.post(f"{path}/{mid}/stop")
        finals.append(list(events)[-1])
    assert [final["data"]["status"] for final in finals] == ["blocked", "failed", "stopped"]
    for final in finals:
        again = follow(alice, conversation, final["data"]["id"])[1]
        assert (text_of(again), again[-1]) == (final["data"]["content"], final)
        assert follow(alice, conversation, final["data"]["id"], final["id"]) == (204, [])


@pytest.fixture
def two_processes(web_with: Callable[..., str], web_url: str) -> list[str]:
    """The URLs of one process, and of other processes with the same stores."""
    return [web_with(**ELSEWHERE), web_url]


@pytest.mark.parametrize("last_id", ["1-99999999", "7-3", "1-end"])
@pytest.mark.parametrize("where", ["the process that writes", "another process"])
def test_a_position_ahead_of_a_running_reply_gets_a_restart_and_the_text(
    two_processes: list[str], register: Callable[..., Person], last_id: str, where: str
) -> None:
    writer, other = two_processes
    alice = register("alice", writer)
    follower = alice if where == "the process that writes" else Api(other, token=alice.tokens["access_token"])
    path = f"chat/conversations/{alice.new_conversation(title='Titled')}/messages"
    body = {"content": "[[chunks=400]][[gap=0.2]]" + "word " * 400}
    with alice.stream("POST", path, json=body, headers=EVENT_STREAM) as sent:
        running = read_events(sent.iter_lines())
        mid = [next(running) for _ in range(3)][1]["data"]["model_message"]["id"]
        with follower.stream("GET", f"{path}/{mid}/stream", headers={"Last-Event-ID": last_id}) as answer:
            assert answer.status_code == 200
            followed = read_events(answer.iter_lines())
            events = [next(followed) for _ in range(4)]
            assert [each.get("event") for each in events] == [None, "restart", "delta", "delta"]
            assert (events[1]["id"], events[1]["data"]) == ("1-0", {})
            final = alice.post(f"{path}/{mid}/stop").json()
            assert final["status"] == "stopped"
            events += followed
    assert (text_of(events), events[-1]["event"], events[-1]["data"]) == (final["content"], "done", final)
    assert [each.get("event") for each in events].count("restart") == 1


def test_a_position_that_another_process_has_told_goes_on_without_a_restart(
    two_processes: list[str], register: Callable[..., Person]
) -> None:
    writer, other = two_processes
    alice = register("alice", writer)
    follower = Api(other, token=alice.tokens["access_token"])
    path = f"chat/conversations/{alice.new_conversation(title='Titled')}/messages"
    body = {"content": "[[chunks=400]][[gap=0.1]]" + "word " * 400}
    with alice.stream("POST", path, json=body, headers=EVENT_STREAM) as sent:
        running = read_events(sent.iter_lines())
        events = [next(running) for _ in range(20)]
        mid = events[1]["data"]["model_message"]["id"]
        headers = {"Last-Event-ID": events[-1]["id"]}
        with follower.stream("GET", f"{path}/{mid}/stream", headers=headers) as answer:
            followed = read_events(answer.iter_lines())
            events += [next(followed) for _ in range(3)]
            final = alice.post(f"{path}/{mid}/stop").json()
            events += followed
    assert "restart" not in [each.get("event") for each in events]
    assert (text_of(events), events[-1]["data"]) == (final["content"], final)
