"""Replies that MongoDB refuses to store end as failed, once, and free their conversation."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bson
import pymongo.errors
import pytest
from bson.errors import InvalidDocument

from conftest import Person
from conversations import transcript_repository as transcripts
from conversations.replies.failure import end_refused_reply
from conversations.tests.living_process import living_process
from conversations.transcript_repository.collections import conversations, messages
from edgechat.local.web import WebServer
from edgechat.stores import mongo
from edgechat.stores.breaker import Breaker
from edgechat.stores.mongo import MongoRefused, MongoUnavailable, mongo_errors
from usage.models import LedgerEntry

Eventually = Callable[..., Any]


def nearly_full(document: str) -> None:
    """Make the message's document so large that an answer no longer fits into it."""
    messages().update_one({"_id": document}, {"$set": {"ballast": "x" * (16 * 1024 * 1024 - 5000)}})


def filled_up(document: str) -> bool:
    """Leave the message's document 600 bytes. False if its text grew meanwhile by so much."""
    size = len(bson.encode(messages().find_one({"_id": document}) or {}))
    try:
        messages().update_one({"_id": document}, {"$set": {"ballast": "x" * (16 * 1024 * 1024 - size - 600)}})
    except pymongo.errors.WriteError:
        return False
    return True


def test_an_answer_that_does_not_fit_fails_once_and_frees_the_conversation(
    start_web: Callable[..., WebServer], register: Callable[..., Person], eventually: Eventually
) -> None:
    web = start_web(workers=1)
    alice = register("alice", web.url)
    conversation = alice.new_conversation(title="Titled")
    mid = f"{conversation}:00000002"
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(alice.say, conversation, "[[chunks=2]][[gap=1.5]][[length=20000]]long")
        eventually(lambda: messages().find_one({"_id": mid}, {"_id": 1}))
        nearly_full(mid)
        answer = sending.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    failed = answer.json()["context"]["model_message"]
    assert (failed["id"], failed["status"], failed["content"]) == (mid, "failed", "")
    found = transcripts.find_conversation(alice.id, conversation)
    assert found is not None
    assert found["reply"] is None
    assert LedgerEntry.objects.filter(user_id=alice.id, purpose="chat").count() == 1
    assert "reply_refused" in web.log_text()
    messages().update_one({"_id": mid}, {"$unset": {"ballast": 1}})
    again = alice.post(f"chat/conversations/{conversation}/messages/{mid}/regenerate", json={"content": "short"})
    assert again.json()["model_message"]["content"] == "Echo: short"


def test_a_snapshot_that_does_not_fit_ends_the_call_to_the_model(
    alice: Person, eventually: Eventually, model_calls: Callable[[str], list[dict[str, Any]]]
) -> None:
    conversation = alice.new_conversation(title="Titled")
    mid = f"{conversation}:00000002"
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(alice.say, conversation, f"[[chunks=400]][[gap=0.1]][[length=40000]]{conversation}")
        eventually(lambda: messages().find_one({"_id": mid}, {"_id": 1}))
        eventually(lambda: filled_up(mid))
        answer = sending.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert alice.messages(conversation)["messages"][1]["status"] == "failed"
    eventually(lambda: [call["outcome"] for call in model_calls(conversation)] == ["client_gone"])
    # Commands of other tests that scan all messages would read it too.
    messages().update_one({"_id": mid}, {"$unset": {"ballast": 1}})
    assert alice.say(conversation, "next").status_code == 200


def test_messages_that_cannot_be_stored_leave_no_claim(alice: Person) -> None:
    conversation = alice.new_conversation(title="Titled")
    alice.say(conversation, "one")
    before = alice.get(f"chat/conversations/{conversation}").json()
    found = transcripts.find_conversation(alice.id, conversation)
    assert found is not None
    draft: Any = {"content": "\ud800", "client_message_id": None, "body_hash": "", "attachments": []}
    with living_process() as worker:
        reply: Any = {
            "message_id": f"{conversation}:00000004",
            "user_message": {**draft, "content": "two"},
            "attempt": 1,
            "first_attempt": 1,
            "ledger_id": "x",
            "worker": worker,
            "stop_requested": False,
            "expires_at": None,
            "started_at": transcripts.now(),
        }
        claimed = transcripts.claim_reply(found, reply)
        assert claimed is not None
        unstorable: Any = {**reply, "user_message": draft}
        with pytest.raises(MongoRefused):
            transcripts.prepare_messages(alice.id, conversation, unstorable)
        end_refused_reply(claimed, reply, MongoRefused("a bad value"))
    after = alice.get(f"chat/conversations/{conversation}").json()
    assert {**after, "updated_at": None} == {**before, "updated_at": None}
    assert conversations().find_one({"_id": conversation}, {"reply": 1}) == {"_id": conversation, "reply": None}
    assert alice.say(conversation, "two").json()["model_message"]["seq"] == 4


def write_error(code: int | None) -> Exception:
    return pymongo.errors.WriteError("refused", code)


def bulk_error(*codes: int) -> Exception:
    return pymongo.errors.BulkWriteError({"writeErrors": [{"index": 0, "code": code} for code in codes]})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (pymongo.errors.DocumentTooLarge("too large"), MongoRefused),
        (InvalidDocument("no key"), MongoRefused),
        (OverflowError("8-byte ints"), MongoRefused),
        ("\ud800", MongoRefused),
        (write_error(2), MongoRefused),
        (write_error(121), MongoRefused),
        (pymongo.errors.OperationFailure("too large", 10334), MongoRefused),
        (pymongo.errors.OperationFailure("too large", 17419), MongoRefused),
        (bulk_error(11000, 2), MongoRefused),
        (bulk_error(11000), MongoUnavailable),
        (write_error(None), MongoUnavailable),
        (pymongo.errors.WriteError("later", 2, {"errorLabels": ["RetryableWriteError"]}), MongoUnavailable),
        (pymongo.errors.OperationFailure("not primary", 10107), MongoUnavailable),
        (pymongo.errors.OperationFailure("full", 14031), MongoUnavailable),
        (pymongo.errors.OperationFailure("who?", 18), MongoUnavailable),
        (pymongo.errors.ExecutionTimeout("slow", 50), MongoUnavailable),
        (pymongo.errors.WTimeoutError("slow", 64), MongoUnavailable),
        (pymongo.errors.AutoReconnect("gone"), MongoUnavailable),
    ],
)
def test_what_passes_is_told_from_what_does_not(
    error: Exception | str, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "_breaker", Breaker("mongo"))  # one of these errors opens it

    @mongo_errors
    def write() -> None:
        if isinstance(error, str):
            error.encode()
        else:
            raise error

    with pytest.raises(MongoUnavailable) as caught:
        write()
    assert type(caught.value) is expected
