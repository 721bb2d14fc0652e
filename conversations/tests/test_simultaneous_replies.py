"""The limits of one user's simultaneous replies and event streams."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from conftest import Person, assert_error, at_once
from conversations.tests.events import EVENT_STREAM, read_events
from edgechat.local.web import WebServer
from edgechat.stores.redis import redis_client
from edgechat.tests.web_settings import TWO_PROCESSES, WITHOUT_REDIS
from usage.models import LedgerEntry

Eventually = Callable[..., Any]

# Longer than a test takes on a slow machine: each test ends these replies.
LONG = "[[chunks=120]][[gap=1]]" + "word " * 120
TOO_MANY = "replies are being written for this account, as many as there may be; wait for one of them to end"
TOO_MANY_STREAMS = "event streams are open for this account, as many as there may be; wait for one of them to end"


@pytest.fixture
def carol(web_with: Callable[..., str], register: Callable[..., Person]) -> Person:
    """A user of two processes with small limits."""
    return register("carol", web_with(**TWO_PROCESSES))


def assert_too_many(answer: httpx2.Response, detail: str) -> None:
    assert_error(answer, 429, "too_many_replies", detail)
    assert int(answer.headers["Retry-After"]) >= 1


def running(person: Person) -> int:
    return LedgerEntry.objects.filter(user_id=person.id, purpose="chat", settled_at=None).count()


def stop_all(person: Person, conversations: list[str]) -> None:
    for conversation in conversations:
        person.post(f"chat/conversations/{conversation}/messages/{conversation}:00000002/stop")


def test_many_sends_at_once_leave_as_many_replies_as_there_may_be(carol: Person, eventually: Eventually) -> None:
    conversations = [carol.new_conversation(title="Titled") for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        sending = [pool.submit(carol.say, each, LONG, client_message_id="once") for each in conversations]
        eventually(lambda: sum(each.done() for each in sending) == 8 and running(carol) == 4)
        sent = [conversation for conversation, each in zip(conversations, sending, strict=True) if not each.done()]
        stop_all(carol, sent)
    for conversation, each in zip(conversations, sending, strict=True):
        if conversation in sent:
            assert each.result().json()["model_message"]["status"] == "stopped"
        else:
            assert_too_many(each.result(), f"4 {TOO_MANY}")
            assert carol.messages(conversation)["messages"] == []
    assert LedgerEntry.objects.filter(user_id=carol.id).count() == 4
    assert carol.say(conversations[0], "Now there is room").status_code == 200


def test_a_repeated_send_follows_its_reply_and_needs_no_room(carol: Person) -> None:
    conversations = [carol.new_conversation(title="Titled") for _ in range(4)]
    content = "[[chunks=40]][[gap=0.1]]" + "word " * 40

    def send(number: int) -> httpx2.Response:
        return carol.say(conversations[number % 4], content, client_message_id="once")

    answers = at_once(12, send)
    assert [answer.status_code for answer in answers] == [200] * 12
    assert LedgerEntry.objects.filter(user_id=carol.id).count() == 4


def test_one_off_calls_count_as_replies(carol: Person, bob: Person, eventually: Eventually) -> None:
    with ExitStack() as stack:
        begun = []
        for _ in range(3):
            asked = carol.stream("POST", "ai/complete", json={"prompt": LONG}, headers=EVENT_STREAM)
            begun.append(read_events(stack.enter_context(asked).iter_lines()))
            assert next(begun[-1]) == {"retry": "1000"}
        conversation = carol.new_conversation(title="Titled")
        with carol.stream(
            "POST", f"chat/conversations/{conversation}/messages", json={"content": LONG}, headers=EVENT_STREAM
        ) as refused:
            refused.read()
            assert_too_many(refused, f"3 {TOO_MANY_STREAMS}")
        assert carol.messages(conversation)["messages"] == []
        fourth = at_once(2, lambda _: carol.post("ai/complete", json={"prompt": "[[delay=10]]hello"}))
        assert sorted(answer.status_code for answer in fourth) == [200, 429]
        assert_too_many(next(each for each in fourth if each.status_code == 429), f"4 {TOO_MANY}")
    # Their clients have closed the connection.
    eventually(lambda: carol.post("ai/complete", json={"prompt": "hello"}).status_code == 200)
    assert bob.post("ai/complete", json={"prompt": "hello"}).status_code == 200


def test_who_hangs_up_gives_the_stream_s_place_back_and_the_reply_keeps_its_own(
    carol: Person, eventually: Eventually
) -> None:
    conversations = [carol.new_conversation(title="Titled") for _ in range(5)]
    for conversation in conversations[:4]:
        path = f"chat/conversations/{conversation}/messages"

        def begin(path: str = path) -> bool:
            with carol.stream("POST", path, json={"content": LONG}, headers=EVENT_STREAM) as answer:
                if answer.status_code == 429:
                    return False
                assert answer.status_code == 200
                events = read_events(answer.iter_lines())
                return {next(events).get("retry"), next(events).get("event")} == {"1000", "message"}

        eventually(begin)
    assert_too_many(carol.say(conversations[4], "hello"), f"4 {TOO_MANY}")
    stop_all(carol, conversations[:4])
    assert carol.say(conversations[4], "hello").status_code == 200


@pytest.mark.faults
def test_a_killed_process_gives_its_places_back(
    start_web: Callable[..., WebServer], register: Callable[..., Person], eventually: Eventually
) -> None:
    web = start_web(workers=1, MAX_REPLIES_PER_USER="2", MAX_STREAMS_PER_USER="1")
    carol = register("carol", web.url)
    with carol.stream("POST", "ai/complete", json={"prompt": LONG}, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        assert next(events) == {"retry": "1000"}
        web.kill()
        web.start()
    path = f"chat/conversations/{carol.new_conversation(title='Titled')}/messages"

    def stream() -> int:
        with carol.stream("POST", path, json={"content": "hello"}, headers=EVENT_STREAM) as answer:
            answer.read()
            return answer.status_code

    eventually(lambda: stream() == 200)


@pytest.mark.faults
def test_without_redis_each_process_counts_for_itself(
    web_with: Callable[..., str], register: Callable[..., Person]
) -> None:
    carol = register("carol", web_with(**WITHOUT_REDIS))
    with ExitStack() as stack:
        for _ in range(5):
            asked = carol.stream("POST", "ai/complete", json={"prompt": LONG}, headers=EVENT_STREAM)
            assert stack.enter_context(asked).status_code == 200
        answers = at_once(4, lambda number: carol.post("ai/complete", json={"prompt": f"hello {number}"}))
        assert [answer.status_code for answer in answers] == [429] * 4


def test_nothing_is_left_of_a_place_that_was_given_back(carol: Person, eventually: Eventually) -> None:
    assert carol.post("ai/complete", json={"prompt": "hello"}).status_code == 200
    assert carol.say(carol.new_conversation(), "hello").status_code == 200
    keys = [f"edgechat:slots:{kind}:{carol.id}" for kind in ("replies", "streams")]
    eventually(lambda: not redis_client().exists(*keys))
