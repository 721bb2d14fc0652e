"""Replies survive failures of the processes that write them and of the stores."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.utils import timezone

from conftest import Api, Person, full_size
from conversations.documents import message_id
from conversations.replies.start import new_ledger_id
from conversations.tests.events import EVENT_STREAM, read_events, text_of
from conversations.transcript_repository import claim_reply, find_conversation
from edgechat.local.stack import start_mongo
from edgechat.local.web import WebServer
from edgechat.tests.store_proxy import StoreProxy
from usage.models import LedgerEntry, Process

pytestmark = pytest.mark.faults

Eventually = Callable[..., Any]
StartWeb = Callable[..., WebServer]
ModelCalls = Callable[[str], list[dict[str, Any]]]

PROJECT = Path(__file__).parents[2]
# The limit of a wait. The actual time is printed, not asserted, because the machine may be busy.
PATIENCE = 120.0


def figure(text: str) -> None:
    """Print a figure for `make faults`."""
    print(text)  # noqa: T201


def begin(person: Person, web: WebServer, conversation: str, content: str) -> str:
    """Send a message, read until the first words, and close the connection: the model message's id."""
    url = f"{web.url}/api/v1/chat/conversations/{conversation}/messages"
    with Api(web.url, token=person.tokens["access_token"]) as client:
        with client.stream("POST", url, json={"content": content}, headers=EVENT_STREAM) as answer:
            assert answer.status_code == 200
            events = read_events(answer.iter_lines())
            opening = next(told for told in events if told.get("event") == "message")
            next(told for told in events if told.get("event") == "delta")
    mid: str = opening["data"]["model_message"]["id"]
    return mid


def begin_many(person: Person, web: WebServer, count: int, content: str) -> dict[str, str]:
    """Create conversations with a running reply each: conversation id to message id."""
    conversations = [person.new_conversation() for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        mids = pool.map(lambda conversation: begin(person, web, conversation, content), conversations)
    return dict(zip(conversations, mids, strict=True))


def statuses(person: Person, running: dict[str, str]) -> list[str | None]:
    """The statuses of these messages; None for a message that cannot be read because MongoDB is just coming back."""
    answers = [person.get(f"chat/conversations/{c}/messages/{mid}").json() for c, mid in running.items()]
    return [answer.get("status") for answer in answers]


def ledger_attempts(mid: str) -> list[LedgerEntry]:
    return list(LedgerEntry.objects.filter(attempt_id__startswith=f"{mid}:", purpose="chat"))


def test_many_replies_survive_a_sigkill_of_the_whole_service(
    alice: Person, start_web: StartWeb, eventually: Eventually, model_calls: ModelCalls
) -> None:
    """80 replies in `make faults`, 20 otherwise."""
    count = full_size(80, 20)
    web = start_web(workers=2)
    marker = f"kill-{alice.id}"
    running = begin_many(alice, web, count, f"[[chunks=50]][[gap=0.1]]{marker} " + "word " * 50)
    web.kill()
    killed_at = time.monotonic()
    web.start()
    eventually(lambda: "generating" not in statuses(alice, running), seconds=PATIENCE)
    seconds = time.monotonic() - killed_at
    ended = Counter(statuses(alice, running))
    for conversation, mid in running.items():
        question, answer = alice.messages(conversation)["messages"]
        assert question["status"] == "complete"
        assert answer["id"] == mid
        assert answer["status"] in ("complete", "interrupted")
        whole = f"Echo: {marker} {'word ' * 50}".strip()
        # An interrupted reply ends anywhere, before its first word too.
        assert answer["content"] == whole or (answer["status"] == "interrupted" and whole.startswith(answer["content"]))
        assert alice.say(conversation, "and on").status_code == 200
    reached = [call for call in model_calls(marker) if call["path"].endswith("streamGenerateContent")]
    chat_calls = [call for call in reached if call["text"].startswith("[[chunks=50]]")]
    attempts = [entry for mid in running.values() for entry in ledger_attempts(mid)]
    assert len(attempts) == len(chat_calls)
    eventually(lambda: all(entry.settled_at for mid in running.values() for entry in ledger_attempts(mid)))
    figure(
        f"{count} replies in flight, SIGKILL of the service, restart: none generating after {seconds:.1f} s,"
        f" {dict(ended)}; {len(chat_calls)} calls that reached the model, {len(attempts)} ledger rows"
    )


def test_a_killed_worker_s_reply_is_begun_again_and_its_followers_are_told(alice: Person, start_web: StartWeb) -> None:
    web = start_web(workers=1)
    conversation = alice.new_conversation()
    mid = begin(alice, web, conversation, "[[chunks=100]][[gap=0.1]]" + "word " * 100)
    with alice.stream("GET", f"chat/conversations/{conversation}/messages/{mid}/stream") as answer:
        followed = read_events(answer.iter_lines())
        events = [next(followed)]
        while events[-1].get("event") != "delta":
            events.append(next(followed))
        web.kill()
        events += followed
    final = alice.get(f"chat/conversations/{conversation}/messages/{mid}").json()
    assert final["status"] == "complete"
    # Another test's process may take it over first, and be killed too.
    *restarts, done = [told["event"] for told in events if told.get("event") in ("restart", "done")]
    assert (set(restarts), done) == ({"restart"}, "done")
    assert text_of(events) == final["content"] == events[-1]["data"]["content"]


def test_sigterm_lets_a_short_reply_end(alice: Person, start_web: StartWeb) -> None:
    web = start_web(workers=1)
    conversation = alice.new_conversation()
    mid = begin(alice, web, conversation, "[[chunks=20]][[gap=0.1]]" + "word " * 20)
    assert web.terminate()
    final = alice.get(f"chat/conversations/{conversation}/messages/{mid}").json()
    assert (final["status"], len(ledger_attempts(mid))) == ("complete", 1)


def test_sigterm_hands_a_long_reply_over_at_once(alice: Person, start_web: StartWeb, eventually: Eventually) -> None:
    web = start_web(workers=1, GRACEFUL_TIMEOUT="1")
    conversation = alice.new_conversation()
    mid = begin(alice, web, conversation, "[[chunks=600]][[gap=0.2]]" + "word " * 600)
    stored = find_conversation(alice.id, conversation)
    assert stored is not None
    assert stored["reply"] is not None
    worker = stored["reply"]["worker"]
    assert web.terminate()
    # The process gave its lease up; the take-over did not wait for its expiry.
    assert Process.objects.get(name=worker).leaving
    eventually(lambda: len(ledger_attempts(mid)) >= 2)
    stopped = alice.post(f"chat/conversations/{conversation}/messages/{mid}/stop").json()
    assert stopped["status"] == "stopped"
    eventually(lambda: all(entry.settled_at for entry in ledger_attempts(mid)))


def test_with_redis_gone_in_mid_reply_the_waiting_caller_gets_its_answer(
    alice: Person, start_web: StartWeb, eventually: Eventually
) -> None:
    proxy = StoreProxy(os.environ["REDIS_URL"])
    web = start_web(workers=1, REDIS_URL=proxy.url)
    conversation = alice.new_conversation()
    url = f"{web.url}/api/v1/chat/conversations/{conversation}/messages"
    body = {"content": "[[chunks=20]][[gap=0.1]]" + "word " * 20}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx2.post, url, json=body, headers=alice.headers, timeout=60, trust_env=False)
        eventually(lambda: alice.messages(conversation)["messages"])
        proxy.close()
        answer = waiting.result()
    assert answer.status_code == 200
    assert answer.json()["model_message"]["status"] == "complete"
    assert alice.messages(conversation)["messages"][1] == answer.json()["model_message"]


@pytest.fixture
def own_mongo(data_dir: Path) -> Any:
    mongo = start_mongo(data_dir)
    yield mongo
    mongo.kill()


def test_with_mongo_gone_at_the_end_the_final_write_is_repeated_until_it_lands(
    own_mongo: Any, start_web: StartWeb, eventually: Eventually
) -> None:
    web = start_web(workers=1, MONGODB_URL=own_mongo.url, DATABASE_POOL_SIZE="1", STORE_TIMEOUT_SECONDS="4.5")
    carol = Person(web.url, "carol")
    conversation = carol.new_conversation()
    mid = begin(carol, web, conversation, "[[chunks=60]][[gap=0.1]]" + "word " * 60)
    own_mongo.kill()
    eventually(lambda: web.log_text().count("final_write_deferred") > 2)
    # Who waits for MongoDB keeps no connection to PostgreSQL.
    eventually(lambda: carol.get("auth/me").status_code == 200)
    own_mongo.start()
    eventually(lambda: statuses(carol, {conversation: mid}) == ["complete"])
    carol.close()


def test_50_parallel_sends_leave_sequence_numbers_without_gap_or_double(alice: Person) -> None:
    conversation = alice.new_conversation()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda n: alice.say(conversation, f"[[delay=0.2]]{n}"), range(50)))
    sent = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 409]
    assert sent
    assert len(sent) + len(refused) == 50
    mids = {answer.json()["model_message"]["id"] for answer in sent}
    assert all(answer.json()["code"] == "generation_in_progress" for answer in refused)
    assert {answer.json()["context"]["message_id"] for answer in refused} <= mids
    messages = alice.messages(conversation, limit=100)["messages"]
    assert [message["seq"] for message in messages] == list(range(1, 2 * len(sent) + 1))
    figure(f"50 sends at once: {len(sent)} answered, {len(refused)} refused, sequence numbers 1 to {len(messages)}")


def test_the_scripted_model_is_the_one_in_use() -> None:
    """Guards the tests above: another model would ignore their directives."""
    key = {"x-goog-api-key": os.environ["GEMINI_API_KEY"]}
    answer = httpx2.get(f"{os.environ['GEMINI_BASE_URL']}/v1beta/models", headers=key, timeout=60, trust_env=False)
    assert [model["name"] for model in answer.json()["models"]] == ["models/local-scripted"]


def live_worker(person: Person) -> str:
    """The process that answers this person. Processes of other tests may have other stores."""
    conversation = person.new_conversation(title="Running")
    body = {"content": "[[chunks=600]][[gap=0.2]]" + "word " * 600}
    url = f"chat/conversations/{conversation}/messages"
    with person.stream("POST", url, json=body, headers=EVENT_STREAM) as answer:
        next(told for told in read_events(answer.iter_lines()) if told.get("event") == "delta")
        stored = find_conversation(person.id, conversation)
        assert person.post(f"{url}/{message_id(conversation, 2)}/stop").status_code == 200
    assert stored is not None
    assert stored["reply"] is not None
    return stored["reply"]["worker"]


def leave(
    person: Person,
    conversation: str,
    content: str,
    *,
    worker: str,
    key: str | None = None,
    body_hash: str = "",
    without: str = "",
) -> str:
    """Claim a conversation for a reply of this worker, and write nothing: the message id.

    `key` is the client's id of the message, `without` a field that the reply lacks.
    """
    stored = find_conversation(person.id, conversation)
    assert stored is not None
    mid = message_id(conversation, stored["next_seq"] + 1)
    reply: Any = {
        "message_id": mid,
        "user_message": {"content": content, "client_message_id": key, "body_hash": body_hash, "attachments": []},
        "attempt": 1,
        "ledger_id": new_ledger_id(stored, mid, 1),
        "first_attempt": 1,
        "worker": worker,
        "stop_requested": False,
        "expires_at": None,
        "started_at": stored["created_at"],
    }
    reply.pop(without, None)
    assert claim_reply(stored, reply)
    return mid


def test_a_claimed_reply_that_no_thread_writes_is_found_and_written(alice: Person, eventually: Eventually) -> None:
    """The state after MongoDB fails between the claim and the two messages."""
    conversation = alice.new_conversation()
    mid = leave(alice, conversation, "left", worker=live_worker(alice))
    eventually(lambda: len(alice.messages(conversation)["messages"]) == 2)
    eventually(lambda: statuses(alice, {conversation: mid}) == ["complete"])
    assert [message["content"] for message in alice.messages(conversation)["messages"]] == ["left", "Echo: left"]
    assert alice.say(conversation, "and on").status_code == 200


def test_a_reply_that_an_older_version_had_begun_is_taken_over(alice: Person, eventually: Eventually) -> None:
    """The older version's replies have no ledger id; a deployment takes such running replies over."""
    conversation = alice.new_conversation()
    mid = message_id(conversation, 2)
    LedgerEntry.objects.create(
        attempt_id=f"{mid}:1",
        user_id=alice.id,
        purpose="chat",
        input_tokens=3,
        abandoned_after=timezone.now() + timedelta(days=1),
    )
    leave(alice, conversation, "left", worker=live_worker(alice), without="ledger_id")
    eventually(lambda: len(alice.messages(conversation)["messages"]) == 2)
    eventually(lambda: statuses(alice, {conversation: mid}) == ["complete"])
    assert LedgerEntry.objects.get(attempt_id=f"{mid}:1").settled_at is not None
    assert alice.say(conversation, "and on").status_code == 200


def test_a_reply_of_a_version_before_is_taken_over_when_its_process_is_gone(
    alice: Person, eventually: Eventually
) -> None:
    """The earlier version kept its leases in MongoDB, and a row for its calls to the model in PostgreSQL."""
    older = f"older:7:{alice.id}"
    until = timezone.now() + timedelta(seconds=15)
    Process.objects.create(name=older, alive_until=until)
    gone, alive = (alice.new_conversation() for _ in range(2))
    left = {
        gone: leave(alice, gone, "left", worker=f"gone:7:{alice.id}:1"),
        alive: leave(alice, alive, "left", worker=f"{older}:1"),
    }
    eventually(lambda: all(len(alice.messages(conversation)["messages"]) == 2 for conversation in left))
    eventually(lambda: statuses(alice, left) == ["complete", "complete"])
    started = [alice.messages(conversation)["messages"][1]["created_at"] for conversation in left]
    assert len(started) == 2
    older_row = Process.objects.filter(name=older).first()
    assert older_row is None or older_row.dead


def test_a_process_that_was_stopped_for_a_while_does_not_write_over_its_successor(
    alice: Person, start_web: StartWeb, eventually: Eventually
) -> None:
    web = start_web(workers=1)
    conversation = alice.new_conversation()
    mid = begin(alice, web, conversation, "[[chunks=80]][[gap=0.1]]" + "word " * 80)
    [pid] = web.pids
    os.kill(pid, signal.SIGSTOP)
    stopped_at = time.monotonic()
    try:
        eventually(lambda: statuses(alice, {conversation: mid}) == ["complete"])
    finally:
        os.kill(pid, signal.SIGCONT)
    figure(f"a process stopped in mid reply: its reply complete elsewhere after {time.monotonic() - stopped_at:.1f} s")
    answer = alice.get(f"chat/conversations/{conversation}/messages/{mid}").json()
    attempts = len(ledger_attempts(mid))
    assert attempts >= 2
    eventually(lambda: "declared_dead" in web.log_text())
    # The process serves again, under another name, and its text of the reply was not stored.
    assert Api(web.url, token=alice.tokens["access_token"]).get("auth/me").status_code == 200
    assert alice.get(f"chat/conversations/{conversation}/messages/{mid}").json() == answer
    assert len(ledger_attempts(mid)) == attempts


def test_a_reply_that_cannot_be_taken_over_keeps_no_other_from_it(alice: Person, eventually: Eventually) -> None:
    worker = live_worker(alice)
    broken, whole = (alice.new_conversation(title="Left") for _ in range(2))
    leave(alice, broken, "broken", worker=worker, without="first_attempt")
    eventually(lambda: len(alice.messages(broken)["messages"]) == 2)
    leave(alice, whole, "whole", worker=worker)
    eventually(lambda: [message["status"] for message in alice.messages(whole)["messages"]] == ["complete"] * 2)
    assert alice.delete(f"chat/conversations/{broken}").status_code == 204
