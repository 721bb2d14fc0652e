"""The claim of a conversation for a reply: its conditions, and how it is undone."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from accounts.tests.staff import make_user
from conftest import Person, at_once
from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, ReplyDocument
from conversations.tests.living_process import living_process
from conversations.transcript_repository.collections import conversations
from edgechat.tests.own_stores import OwnStores
from usage.ledger.services import settle_abandoned
from usage.models import Budget, LedgerEntry, Process


def found(person: Person, conversation: str) -> ConversationDocument:
    document = transcripts.find_conversation(person.id, conversation)
    assert document is not None
    return document


def reply_to(conversation: ConversationDocument, *, worker: str = "nobody") -> ReplyDocument:
    return {
        "message_id": f"{conversation['_id']}:{conversation['next_seq'] + 1:08d}",
        "user_message": {"content": "hello", "client_message_id": None, "body_hash": "", "attachments": []},
        "attempt": 1,
        "ledger_id": "x",
        "first_attempt": 1,
        "worker": worker,
        "stop_requested": False,
        "expires_at": None,
        "started_at": transcripts.now(),
    }


@pytest.fixture
def living() -> Iterator[str]:
    """The name of a process that counts as alive; no thread writes the replies that it claims."""
    with living_process() as name:
        yield name


def listed(person: Person) -> tuple[list[str], Any]:
    told = person.get("chat/changes").json()
    order = [each["id"] for each in person.get("chat/conversations").json()["conversations"]]
    return order, told


def test_the_read_of_another_device_does_not_fail_a_send(alice: Person, living: str) -> None:
    conversation = alice.new_conversation(title="Talk")
    before = found(alice, conversation)
    listed(alice)
    assert found(alice, conversation)["change"] != before["change"]
    reply = reply_to(before, worker=living)
    claimed = transcripts.claim_reply(before, reply)
    assert claimed is not None
    assert {**claimed, "updated_at": 0} == {**found(alice, conversation), "updated_at": 0}
    assert transcripts.undo_claim(claimed, reply)


@pytest.mark.parametrize("change", ["a reply", "the instruction", "the summary"])
def test_what_a_reply_depends_on_fails_a_claim_that_has_not_seen_it(alice: Person, change: str) -> None:
    conversation = alice.new_conversation(title="Talk")
    before = found(alice, conversation)
    if change == "a reply":
        assert alice.say(conversation, "hello").status_code == 200
    elif change == "the instruction":
        alice.patch(f"chat/conversations/{conversation}", json={"system_instruction": "Be brief."})
    else:
        transcripts.set_summary(alice.id, conversation, text="short", upto_seq=2, replaces_upto_seq=0)
    assert transcripts.claim_reply(before, reply_to(before)) is None
    assert found(alice, conversation)["reply"] is None


def test_a_conversation_of_a_version_before_has_no_revision_and_is_claimed_once(alice: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    conversations().update_one({"_id": conversation}, {"$unset": {"revision": 1}})
    before = found(alice, conversation)
    answers = at_once(8, lambda _: alice.say(conversation, "[[delay=0.3]]hello", client_message_id="once"))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert transcripts.claim_reply(before, reply_to(before)) is None
    assert alice.say(conversation, "and on").json()["model_message"]["seq"] == 4
    conversations().update_one({"_id": conversation}, {"$unset": {"revision": 1}})
    assert alice.delete(f"chat/conversations/{conversation}").status_code == 204


def test_a_claim_that_another_process_has_taken_is_not_undone(alice: Person, living: str) -> None:
    conversation = alice.new_conversation(title="Talk")
    before = found(alice, conversation)
    with living_process() as first:
        reply = reply_to(before, worker=first)
        claimed = transcripts.claim_reply(before, reply)
        assert claimed is not None
        assert transcripts.take_reply(alice.id, conversation, reply, worker=living)
    assert not transcripts.undo_claim(claimed, reply, before=before)
    assert transcripts.undo_claim(claimed, {**reply, "worker": living}, before=before)
    assert {**found(alice, conversation), "revision": 0} == {**before, "revision": 0}


def test_a_claim_that_a_device_has_learned_of_is_undone_and_told_again(alice: Person, living: str) -> None:
    conversation = alice.new_conversation(title="Talk")
    listed(alice)
    before = found(alice, conversation)
    reply = reply_to(before, worker=living)
    claimed = transcripts.claim_reply(before, reply)
    assert claimed is not None
    _, told = listed(alice)
    assert told["conversations"][0]["message_count"] == 2
    assert transcripts.undo_claim(claimed, reply, before=before)
    news = alice.get("chat/changes", params={"since": told["next_since"]}).json()
    assert [each["message_count"] for each in news["conversations"]] == [0]
    assert found(alice, conversation)["updated_at"] == before["updated_at"]


def test_a_send_that_its_budget_refuses_leaves_nothing_behind_however_often_it_is_tried(alice: Person) -> None:
    conversations_of_alice = [alice.new_conversation(), alice.new_conversation(title="Later")]
    conversation = conversations_of_alice[0]
    before = listed(alice)
    assert before[0] == conversations_of_alice[::-1]
    Budget.objects.create(user_id=alice.id, period="month", token_limit=0)
    answers = at_once(12, lambda number: alice.say(conversation, "hello", client_message_id=f"{number % 2}"))
    # A send that finds the claim of another send is refused, even if that claim is undone later.
    codes = {answer.json()["code"] for answer in answers}
    assert "budget_exceeded" in codes <= {"budget_exceeded", "generation_in_progress"}
    assert listed(alice) == before
    assert alice.messages(conversation)["messages"] == []
    assert not LedgerEntry.objects.filter(user_id=alice.id).exists()
    Budget.objects.filter(user_id=alice.id).delete()
    assert alice.say(conversation, "hello", client_message_id="0").json()["model_message"]["seq"] == 2


def test_a_repeated_send_that_its_budget_refuses_is_refused_to_all(alice: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    Budget.objects.create(user_id=alice.id, period="month", token_limit=0)
    answers = at_once(12, lambda _: alice.say(conversation, "hello", client_message_id="once"))
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(429, "budget_exceeded")}
    assert alice.messages(conversation)["messages"] == []


def abandoned_call(user: User, attempt_id: str, purpose: str) -> LedgerEntry:
    return LedgerEntry.objects.create(
        attempt_id=attempt_id,
        user=user,
        purpose=purpose,
        input_tokens=3,
        holder="gone",
        abandoned_after=timezone.now() + timedelta(days=1),
    )


def test_a_dead_process_s_call_is_settled_by_who_takes_its_reply_over(own_stores: OwnStores, living: str) -> None:
    """In separate stores: web processes with other transcripts, which have no such reply, would settle it."""
    user = make_user()
    before = transcripts.insert_conversation(user.pk, title="Talk")
    assert before is not None
    conversation = before["_id"]
    attempt_id = f"{conversation}:00000002:1:0"
    reply: ReplyDocument = {**reply_to(before, worker=living), "ledger_id": attempt_id}
    claimed = transcripts.claim_reply(before, reply)
    assert claimed is not None
    entry = abandoned_call(user, attempt_id, "chat")
    settle_abandoned()
    entry.refresh_from_db()
    assert entry.settled_at is None
    assert transcripts.undo_claim(claimed, reply)
    settle_abandoned()
    entry.refresh_from_db()
    assert entry.settled_at is not None


def test_a_dead_process_s_summary_is_another_one_s_to_extend(own_stores: OwnStores) -> None:
    user, now = make_user(), timezone.now()
    document = transcripts.insert_conversation(user.pk, title="Talk")
    assert document is not None
    conversation = document["_id"]
    ledger_id = f"{conversation}:00000002:1:0"
    until = now + timedelta(seconds=600)
    assert transcripts.claim_summary(user.pk, conversation, claim=ledger_id, now=now, until=until) is not None
    assert transcripts.claim_summary(user.pk, conversation, claim="next", now=now, until=until) is None
    entry = abandoned_call(user, f"{ledger_id}:summary:0", "context_summary")
    settle_abandoned()
    entry.refresh_from_db()
    assert entry.settled_at is not None
    assert transcripts.claim_summary(user.pk, conversation, claim="next", now=now, until=until) is not None


@pytest.mark.parametrize("call", ["send", "regenerate"])
def test_who_has_read_the_end_of_a_reply_need_not_wait_for_its_claim(alice: Person, living: str, call: str) -> None:
    conversation = alice.new_conversation()
    claim = reply_to(found(alice, conversation), worker=living)
    mid = alice.say(conversation, "hello").json()["model_message"]["id"]
    # The state after a process dies once the end is stored.
    conversations().update_one({"_id": conversation}, {"$set": {"reply": claim}})
    if call == "send":
        answer = alice.say(conversation, "and on")
    else:
        answer = alice.post(f"chat/conversations/{conversation}/messages/{mid}/regenerate", json={})
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_message"]["status"] == "complete"


def test_the_first_reply_of_a_process_that_dies_at_its_end_gives_the_title(
    alice: Person, eventually: Callable[..., Any]
) -> None:
    conversation = alice.new_conversation()
    dead = f"claims-test-{uuid.uuid4()}"
    claim: ReplyDocument = {**reply_to(found(alice, conversation), worker=dead), "first_title": "Storks"}
    alice.say(conversation, "hello")
    settled = LedgerEntry.objects.filter(user_id=alice.id, settled_at__isnull=False)
    assert eventually(lambda: settled.count() == 2)
    # The state after the process dies once the end is stored.
    conversations().update_one({"_id": conversation}, {"$set": {"reply": claim, "title": None}})
    Process.objects.create(name=dead, alive_until=timezone.now() - timedelta(minutes=1), dead=True)
    assert eventually(lambda: alice.get(f"chat/conversations/{conversation}").json()["title"] == "Storks")


def test_a_claim_of_which_nothing_is_stored_is_waited_for(alice: Person, living: str) -> None:
    conversation = alice.new_conversation()
    alice.say(conversation, "hello")
    before = found(alice, conversation)
    claimed = transcripts.claim_reply(before, reply_to(before, worker=living))
    assert claimed is not None
    assert alice.say(conversation, "and on").status_code == 409
    assert transcripts.undo_claim(claimed, claimed["reply"] or reply_to(before))
    assert alice.say(conversation, "and on").status_code == 200
