"""Every call with an id of this app, by another user: it answers as for an absent id and changes nothing.

`edgechat.tests.test_every_call` tests the calls of the other apps.
"""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from conftest import Person
from conversations.tests.test_attachments import picture, upload
from conversations.tests.test_todos import new_todo
from edgechat.stores.mongo import database
from edgechat.tests.calls import calls

# A valid body for every call, so that only the id can be refused.
BODY = {"content": "hello", "title": "mine now", "pinned": True, "rating": "up", "client_message_id": "phone-1"}


def calls_with(*names: str) -> list[tuple[str, str]]:
    """Method and path of every call whose path has an id of one of these names, written as `{name}`."""
    return sorted((method, path) for method, path, _ in calls() if any(f"{{{name}}}" in path for name in names))


ROUTES = calls_with("conversation_id")
OTHER_ROUTES = calls_with("todo_id", "attachment_id")


def documents_of(person: Person) -> list[Any]:
    collections = (database()[name] for name in sorted(database().list_collection_names()))
    return [
        document
        for collection in collections
        for document in collection.find({"$or": [{"owner_id": person.id}, {"_id": person.id}]}).sort("_id", 1)
    ]


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=[f"{method} {path}" for method, path in ROUTES])
def test_a_strangers_id_is_as_good_as_none(alice: Person, bob: Person, method: str, path: str) -> None:
    conversation = alice.new_conversation(title="private")
    message = alice.say(conversation, "private", client_message_id="phone-1").json()["model_message"]["id"]
    own = bob.new_conversation(title="Talk")
    before = documents_of(alice)
    answers = [
        bob.request(method, path.format(conversation_id=tried, mid=message), json=None if method == "GET" else BODY)
        for tried in (conversation, "0" * 24, "malformed")
    ]
    for answer in answers:
        assert answer.status_code == 404, answer.text
        body = answer.json()
        assert body.pop("request_id") == answer.headers["X-Request-ID"]
        assert body == {"detail": "Conversation not found", "code": "not_found"}
    if "{mid}" in path:
        answer = bob.request(
            method, path.format(conversation_id=own, mid=message), json=None if method == "GET" else BODY
        )
        assert (answer.status_code, answer.json()["detail"]) == (404, "Message not found")
    assert documents_of(alice) == before


def test_a_stranger_lists_only_his_own(alice: Person, bob: Person) -> None:
    alice.new_conversation(title="Talk")
    own = bob.new_conversation(title="Talk")
    assert [one["id"] for one in bob.get("chat/conversations").json()["conversations"]] == [own]


@pytest.mark.parametrize(("method", "path"), OTHER_ROUTES, ids=[f"{method} {path}" for method, path in OTHER_ROUTES])
def test_a_strangers_todo_or_picture_is_as_good_as_none(alice: Person, bob: Person, method: str, path: str) -> None:
    if "{todo_id}" in path:
        own, absent = (path.format(todo_id=todo_id) for todo_id in (new_todo(alice)["id"], 2**62))
    else:
        attachment_id = upload(alice, picture()).json()["id"]
        own, absent = (path.format(attachment_id=one) for one in (attachment_id, uuid.uuid4()))
    before = alice.get(own)
    refused = [bob.request(method, tried, json=None if method == "GET" else BODY) for tried in (own, absent)]
    # Only the role `admin` deletes todos, its own ones too.
    assert {answer.status_code for answer in refused} == {
        403 if (method, path) == ("DELETE", "todos/{todo_id}") else 404
    }
    assert len({answer.json()["detail"] for answer in refused}) == 1
    after = alice.get(own)
    assert (after.status_code, after.content) == (before.status_code, before.content)
