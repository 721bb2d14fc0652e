"""POST /chat/conversations/{id}/messages: the prompt, the response, the stored messages and the charge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import Person, assert_error, at_once
from conversations.transcript_repository.collections import conversations, messages
from edgechat.tests.raw_client import RawClient
from usage.models import LedgerEntry

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ModelCalls = Callable[[str], list[dict[str, Any]]]


def message(conversation: str, seq: int, content: str, **more: Any) -> dict[str, Any]:
    """A message in a response, without `created_at`."""
    return {
        "id": f"{conversation}:{seq:08d}",
        "seq": seq,
        "role": "user" if seq % 2 else "model",
        "content": content,
        "status": "complete",
        "attachments": [],
        "client_message_id": None,
        "finish_reason": None,
        "usage": None,
        "feedback": None,
        "variants": [],
    } | more


def timeless(body: dict[str, Any]) -> dict[str, Any]:
    assert TIME.fullmatch(body["created_at"])
    return {name: value for name, value in body.items() if name != "created_at"}


def test_a_send_answers_both_messages_whole(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Talk")
    text = f"Hello {conversation} [[thoughts=5]][[cached=3]]"
    answer = alice.say(conversation, text, client_message_id="phone-1")
    pair = answer.json()
    assert answer.status_code == 200
    assert set(pair) == {"user_message", "model_message"}
    assert timeless(pair["user_message"]) == message(conversation, 1, text, client_message_id="phone-1")
    (call,) = model_calls(conversation)
    usage = {
        "input_tokens": call["prompt_tokens"],
        "output_tokens": call["output_tokens"] + 5,
        "total_tokens": call["prompt_tokens"] + call["output_tokens"] + 5,
        "cached_tokens": 3,
        "thinking_tokens": 5,
        "estimated": False,
    }
    assert timeless(pair["model_message"]) == message(
        conversation, 2, f"Echo: Hello {conversation}", finish_reason="STOP", usage=usage
    )
    assert alice.messages(conversation) == {"messages": list(pair.values()), "has_more": False}
    for one in pair.values():
        assert alice.get(f"chat/conversations/{conversation}/messages/{one['id']}").json() == one
    body = alice.get(f"chat/conversations/{conversation}").json()
    assert (body["message_count"], body["last_seq"]) == (2, 2)


TEXTS = [
    "x",
    " ",
    "\n",
    "  spaces at both ends  ",
    "Grüße, 世界 🚀 👩‍👩‍👧 e\u0301 \u202e rtl",
    "\u0001\u001f\u007f\ufeff\uffff",
    '{"$set": {"a.b": 1}} \\ \' " <script>',
    "a\r\nb\tc",
    "\U0001f600" * 1000,
]


@pytest.mark.parametrize("text", TEXTS, ids=[ascii(text[:12]) for text in TEXTS])
def test_a_text_of_any_kind_is_kept_as_it_is(alice: Person, text: str) -> None:
    conversation = alice.new_conversation(title="Talk")
    answer = alice.say(conversation, text)
    assert answer.status_code == 200
    assert answer.json()["user_message"]["content"] == text
    stored = [one["content"] for one in alice.messages(conversation)["messages"]]
    assert stored == [text, answer.json()["model_message"]["content"]]


def test_the_models_text_of_any_kind_is_kept_as_it_is(alice: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    text = "Grüße 世界 🚀👩‍👩‍👧 \x00 end"
    encoded = "".join(f"%{byte:02X}" for byte in text.encode())
    for chunks in (1, 7, 40):
        answer = alice.say(conversation, f"[[say={encoded}]][[chunks={chunks}]]")
        assert answer.json()["model_message"]["content"] == text
    stored = [one["content"] for one in alice.messages(conversation)["messages"] if one["role"] == "model"]
    assert stored == [text] * 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "body.content"),
        (b'{"content": ""}', "body.content"),
        (b'{"content": null}', "body.content"),
        (b'{"content": ["x"]}', "body.content"),
        (b'{"content": "a\\u0000b"}', "body.content"),
        (b'{"content": "\\ud800"}', "body.content"),
        (b'{"content": "a\\udfffb"}', "body.content"),
        (json.dumps({"content": "x" * 32_001}).encode(), "body.content"),
        (b'{"content": "x", "client_message_id": ""}', "body.client_message_id"),
        (json.dumps({"content": "x", "client_message_id": "k" * 129}).encode(), "body.client_message_id"),
        (b'{"content": "x", "client_message_id": "\\u0000"}', "body.client_message_id"),
        (b'{"content": "x", "client_message_id": ["k"]}', "body.client_message_id"),
    ],
    ids=lambda value: value[:60].decode() if isinstance(value, bytes) else None,
)
def test_a_faulty_message_is_422_and_stores_nothing(alice: Person, body: bytes, field: str) -> None:
    conversation = alice.new_conversation(title="Talk")
    path = f"chat/conversations/{conversation}/messages"
    answer = alice.post(path, content=body, headers={"Content-Type": "application/json"})
    errors = answer.json()["errors"]
    assert [error["field"] for error in errors] == [field]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)
    assert alice.messages(conversation) == {"messages": [], "has_more": False}


def test_the_longest_message_is_accepted(alice: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    text = "y" * 31_990 + "[[say=ok]]"
    answer = alice.say(conversation, text)
    assert answer.status_code == 200
    assert answer.json()["user_message"]["content"] == text
    assert len(text) == 32_000


def test_a_message_longer_than_the_context_window_is_413_and_stores_nothing(
    alice: Person, model_calls: ModelCalls
) -> None:
    conversation = alice.new_conversation(title="Talk")
    answer = alice.say(conversation, f"{conversation} " + "\U0001f600" * 31_000)
    detail = "The message is longer than the 24000 tokens that one message may have"
    assert_error(answer, 413, "too_large", detail)
    assert alice.messages(conversation)["messages"] == []
    assert model_calls(conversation) == []
    assert alice.say(conversation, "short").status_code == 200


def test_the_system_instruction_and_the_limit_reach_the_model(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Talk", system_instruction="Be brief. 🚀")
    alice.say(conversation, f"to {conversation}")
    (call,) = model_calls(conversation)
    assert [part["text"] for part in call["system_instruction"]["parts"]] == ["Be brief. 🚀"]
    assert call["generation_config"]["maxOutputTokens"] == 8192
    assert call["contents"] == [{"role": "user", "parts": [{"text": f"to {conversation}"}]}]


def test_without_a_system_instruction_none_is_sent(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Talk", system_instruction="")
    alice.say(conversation, f"to {conversation}")
    assert model_calls(conversation)[0]["system_instruction"] is None


def test_the_history_reaches_the_model_in_order(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Talk")
    for number in range(3):
        alice.say(conversation, f"question {number}")
    alice.say(conversation, f"last {conversation}")
    turns = [(turn["role"], turn["parts"][0]["text"]) for turn in model_calls(conversation)[0]["contents"]]
    expected = [
        turn for number in range(3) for turn in (("user", f"question {number}"), ("model", f"Echo: question {number}"))
    ]
    assert turns == [*expected, ("user", f"last {conversation}")]


def test_two_conversations_do_not_know_each_other(alice: Person, model_calls: ModelCalls) -> None:
    first, second = alice.new_conversation(title="Talk"), alice.new_conversation(title="Talk")
    alice.say(first, "in the first")
    alice.say(second, f"to {second}")
    assert len(model_calls(second)[0]["contents"]) == 1


def test_while_a_reply_is_written_another_send_is_409(
    alice: Person, model_calls: ModelCalls, eventually: Callable[..., Any]
) -> None:
    conversation = alice.new_conversation(title="Talk")
    other = alice.new_conversation(title="Talk")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(alice.say, conversation, f"{conversation} [[delay=120]]")
        eventually(lambda: model_calls(conversation))
        for text in ("another", f"{conversation} [[delay=120]]"):
            answer = alice.say(conversation, text)
            detail = "A reply is being written in this conversation"
            context = {"message_id": f"{conversation}:00000002"}
            assert_error(answer, 409, "generation_in_progress", detail, context=context)
        written = alice.messages(conversation)["messages"]
        assert [one["status"] for one in written] == ["complete", "generating"]
        assert timeless(written[1]) == message(conversation, 2, "", status="generating")
        assert alice.say(other, "elsewhere").status_code == 200
        assert alice.post(f"chat/conversations/{conversation}/messages/{conversation}:00000002/stop").status_code == 200
        assert running.result().status_code == 200
    assert alice.say(conversation, "another").json()["user_message"]["seq"] == 3
    assert len(alice.messages(conversation)["messages"]) == 4


def test_fifty_sends_at_once_leave_no_gap(alice: Person) -> None:
    conversation = alice.new_conversation(title="Talk")
    answers = at_once(50, lambda number: alice.say(conversation, f"number {number} [[delay=0.1]]"))
    seqs: list[int] = []
    for number, answer in enumerate(answers):
        if answer.status_code == 200:
            pair = answer.json()
            assert pair["user_message"]["content"] == f"number {number} [[delay=0.1]]"
            assert pair["model_message"]["content"] == f"Echo: number {number}"
            seqs += [pair["user_message"]["seq"], pair["model_message"]["seq"]]
        else:
            context = answer.json()["context"]
            seq = int(context["message_id"].removeprefix(f"{conversation}:"))
            assert (len(context), seq % 2) == (1, 0)
            detail = "A reply is being written in this conversation"
            assert_error(answer, 409, "generation_in_progress", detail, context=context)
    assert sorted(seqs) == list(range(1, len(seqs) + 1))
    assert len(seqs) >= 2
    stored = alice.messages(conversation, limit=100)
    assert [one["seq"] for one in stored["messages"]] == sorted(seqs)
    assert {one["status"] for one in stored["messages"]} == {"complete"}
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == len(seqs) // 2


def test_a_hang_up_does_not_stop_the_reply(
    alice: Person, model_calls: ModelCalls, eventually: Callable[..., Any]
) -> None:
    conversation = alice.new_conversation(title="Talk")
    body = json.dumps({"content": f"{conversation} [[delay=3]]"}).encode()
    given: dict[str, Any] = {"Content_Type": "application/json", "Content_Length": len(body)}
    with RawClient(alice.origin, token=alice.tokens["access_token"]) as hasty:
        hasty.begin("POST", f"chat/conversations/{conversation}/messages", body, **given)
        eventually(lambda: model_calls(conversation))
    stored = eventually(
        lambda: [one for one in alice.messages(conversation)["messages"] if one["status"] == "complete"][1:]
    )
    assert stored[0]["content"] == f"Echo: {conversation}"
    assert len(model_calls(conversation)) == 1


def test_a_sent_message_leaves_no_reply_behind(alice: Person) -> None:
    conversation = alice.new_conversation(title="Chat")
    alice.say(conversation, "hello")
    document = conversations().find_one({"_id": conversation})
    assert document is not None
    assert (document["reply"], document["next_seq"], document["owner_id"]) == (None, 3, alice.id)
    assert messages().count_documents({"conversation_id": conversation, "owner_id": alice.id}) == 2
