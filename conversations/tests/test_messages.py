"""POST and GET /chat/conversations/{id}/messages: bodies, limits, paging, and what the model is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from conftest import Person
from conversations.transcript_repository.collections import conversations, messages
from edgechat.local.web import WebServer

ModelCalls = Callable[[str], list[dict[str, Any]]]

COUNT = 8


def seqs(person: Person, conversation: str, **query: Any) -> tuple[list[int], bool]:
    body = person.messages(conversation, **query)
    return [message["seq"] for message in body["messages"]], body["has_more"]


def test_a_send_answers_both_messages_whole(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Chat")
    content = f"hello-{alice.id}"
    answer = alice.say(conversation, content)
    pair = answer.json()
    (call,) = model_calls(content)
    question, reply = pair["user_message"], pair["model_message"]
    same: dict[str, Any] = {
        "attachments": [],
        "client_message_id": None,
        "feedback": None,
        "variants": [],
        "status": "complete",
    }
    assert answer.status_code == 200
    assert pair == {
        "user_message": {
            **same,
            "id": question["id"],
            "seq": 1,
            "role": "user",
            "content": content,
            "created_at": question["created_at"],
            "finish_reason": None,
            "usage": None,
        },
        "model_message": {
            **same,
            "id": reply["id"],
            "seq": 2,
            "role": "model",
            "content": f"Echo: {content}",
            "created_at": reply["created_at"],
            "finish_reason": "STOP",
            "usage": {
                "input_tokens": call["prompt_tokens"],
                "output_tokens": call["output_tokens"],
                "total_tokens": call["prompt_tokens"] + call["output_tokens"],
                "cached_tokens": 0,
                "thinking_tokens": 0,
                "estimated": False,
            },
        },
    }
    assert question["id"] != reply["id"]
    for message in (question, reply):
        assert message["created_at"].endswith("Z")
        datetime.fromisoformat(message["created_at"])
        assert alice.get(f"chat/conversations/{conversation}/messages/{message['id']}").json() == message
    assert alice.messages(conversation) == {"messages": [question, reply], "has_more": False}


def test_instruction_and_history_reach_the_model_in_order(alice: Person, model_calls: ModelCalls) -> None:
    conversation = alice.new_conversation(title="Chat", system_instruction="Answer in rhymes")
    texts = [f"{n}-history-{alice.id}" for n in range(3)]
    for text in texts:
        assert alice.say(conversation, text).status_code == 200
    last = model_calls(texts[2])[0]
    told = [("user", texts[0]), ("model", f"Echo: {texts[0]}"), ("user", texts[1]), ("model", f"Echo: {texts[1]}")]
    assert last["contents"] == [{"role": role, "parts": [{"text": text}]} for role, text in [*told, ("user", texts[2])]]
    assert [part["text"] for part in last["system_instruction"]["parts"]] == ["Answer in rhymes"]
    assert last["generation_config"]["maxOutputTokens"] == 8192
    assert last["path"].endswith(":streamGenerateContent")


def test_no_other_conversation_reaches_the_model(alice: Person, model_calls: ModelCalls) -> None:
    one, other = alice.new_conversation(title="One"), alice.new_conversation(title="Other")
    alice.say(one, "a secret")
    alice.say(other, f"other-{alice.id}")
    (call,) = model_calls(f"other-{alice.id}")
    assert len(call["contents"]) == 1
    assert call["system_instruction"] is None


@pytest.fixture
def long_conversation(alice: Person) -> str:
    """A conversation of COUNT messages."""
    conversation = alice.new_conversation(title="Long")
    for number in range(COUNT // 2):
        assert alice.say(conversation, f"{number}").status_code == 200
    return conversation


def test_pages_and_has_more_at_every_edge(alice: Person, long_conversation: str) -> None:
    everything = list(range(1, COUNT + 1))
    assert seqs(alice, long_conversation) == (everything, False)
    for limit in (1, 2, COUNT - 1, COUNT, COUNT + 1, 100):
        assert seqs(alice, long_conversation, limit=limit) == (everything[:limit], limit < COUNT)
        assert seqs(alice, long_conversation, limit=limit, latest="true") == (everything[-limit:], limit < COUNT)
    for edge in (0, 1, 2, COUNT - 1, COUNT, COUNT + 1, 99_999_999):
        for limit in (1, 3, 100):
            behind = [seq for seq in everything if seq > edge]
            earlier = [seq for seq in everything if seq < edge]
            assert seqs(alice, long_conversation, limit=limit, after=edge) == (behind[:limit], len(behind) > limit)
            assert seqs(alice, long_conversation, limit=limit, skip=edge) == (behind[:limit], len(behind) > limit)
            assert seqs(alice, long_conversation, limit=limit, before=edge) == (earlier[-limit:], len(earlier) > limit)


def test_an_empty_conversation_has_empty_pages(alice: Person) -> None:
    conversation = alice.new_conversation(title="Empty")
    for query in ({}, {"latest": "true"}, {"skip": 0}, {"skip": 5}, {"before": 1}, {"before": 9}, {"after": 0}):
        assert alice.messages(conversation, **query) == {"messages": [], "has_more": False}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "query.limit"),
        ("limit=101", "query.limit"),
        ("limit=-1", "query.limit"),
        ("limit=x", "query.limit"),
        ("limit=1.5", "query.limit"),
        ("limit=%00", "query.limit"),
        ("limit=" + "9" * 1500, "query.limit"),
        ("skip=-1", "query.skip"),
        ("skip=x", "query.skip"),
        ("skip=9223372036854775808", "query.skip"),
        ("before=-1", "query.before"),
        ("before=abc", "query.before"),
        ("before=1e400", "query.before"),
        ("after=x", "query.after"),
        ("after=NaN", "query.after"),
        ("latest=perhaps", "query.latest"),
        ("skip=1&before=2", "query.before"),
        ("before=1&after=2", "query.after"),
        ("after=1&latest=true", "query.latest"),
        ("skip=0&latest=true", "query.latest"),
    ],
)
def test_a_wrong_parameter_is_422(alice: Person, query: str, field: str) -> None:
    conversation = alice.new_conversation(title="Chat")
    answer = alice.get(f"chat/conversations/{conversation}/messages?{query}")
    assert (answer.status_code, answer.json()["detail"]) == (422, "Validation error")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "content",
    [
        "x",
        "x" * 32_000,
        "😀👩‍👩‍👧‍👦 größe 漢字",
        " leading and trailing \n",
        "\t\n",
        "\r\n\u2028\ufeff\u200b",
        "\x01\x7f",
        "$set {a.b}",
        "e\u0301",
    ],
)
def test_content_is_stored_and_sent_as_it_is(alice: Person, model_calls: ModelCalls, content: str) -> None:
    conversation = alice.new_conversation(title="Chat")
    answer = alice.say(conversation, content)
    assert answer.status_code == 200, answer.text
    assert answer.json()["user_message"]["content"] == content
    assert alice.messages(conversation)["messages"][0]["content"] == content


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"content": ""}',
        b'{"content": null}',
        b'{"content": []}',
        b'{"content": {"text": "x"}}',
        b'{"content": true}',
        b'{"content": "a\\u0000b"}',
        b'{"content": "\\ud83d"}',
        b'{"content": "\\ude00\\ud83d"}',
        b'{"content": "' + b"x" * 32_001 + b'"}',
        b'{"content": "' + "😀".encode() * 32_001 + b'"}',
    ],
    ids=range(11),
)
def test_content_that_cannot_be_sent_is_422_and_nothing_is_stored(alice: Person, body: bytes) -> None:
    conversation = alice.new_conversation(title="Chat")
    path = f"chat/conversations/{conversation}/messages"
    answer = alice.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["body.content"]
    stored = alice.get(f"chat/conversations/{conversation}").json()
    assert (stored["message_count"], alice.messages(conversation)["messages"]) == (0, [])
    # Nothing is left behind that would keep the next message out.
    assert alice.say(conversation, "and on").json()["user_message"]["seq"] == 1


def test_more_than_the_context_window_is_413_and_nothing_is_stored(start_web: Callable[..., WebServer]) -> None:
    web = start_web(CONTEXT_MAX_TOKENS="300")
    carol = Person(web.url, "carol")
    conversation = carol.new_conversation(title="Small", system_instruction="s" * 75)
    # 300 less a quarter for the answer, three bytes a token, less the instruction.
    room = 3 * 225 - 75
    answer = carol.say(conversation, "x" * (room + 1))
    assert (answer.status_code, answer.json()) == (
        413,
        {
            "detail": "The message is longer than the 225 tokens that one message may have",
            "code": "too_large",
            "request_id": answer.headers["X-Request-ID"],
        },
    )
    assert carol.messages(conversation)["messages"] == []
    assert carol.say(conversation, "x" * room).status_code == 200
    assert carol.say(conversation, "x" * room).status_code == 200
    assert carol.messages(conversation)["messages"][2]["seq"] == 3
    carol.close()


def test_a_sent_message_leaves_no_reply_behind(alice: Person) -> None:
    conversation = alice.new_conversation(title="Chat")
    alice.say(conversation, "hello")
    document = conversations().find_one({"_id": conversation})
    assert document is not None
    assert (document["reply"], document["next_seq"], document["owner_id"]) == (None, 3, alice.id)
    assert messages().count_documents({"conversation_id": conversation, "owner_id": alice.id}) == 2
