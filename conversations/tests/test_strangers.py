"""Every route with an id, called by another user: it answers as for an absent id and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import get_resolver

from conftest import Person
from edgechat.stores.mongo import database

# A valid body for every call, so that only the id can be refused.
BODY = {"content": "hello", "title": "mine now", "pinned": True, "rating": "up", "client_message_id": "phone-1"}


def routes_with_conversation_ids() -> Iterator[tuple[str, str]]:
    for resolver in get_resolver().url_patterns:
        for pattern in getattr(resolver, "url_patterns", []):
            route = str(pattern.pattern)
            if "<str:conversation_id>" in route and hasattr(pattern.callback, "view_class"):
                view = pattern.callback.view_class
                path = route.replace("<str:conversation_id>", "{conversation}").replace("<str:mid>", "{message}")
                yield from (
                    (method.upper(), path)
                    for method in ("get", "post", "put", "patch", "delete")
                    if hasattr(view, method)
                )


ROUTES = sorted(routes_with_conversation_ids())


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
        bob.request(method, path.format(conversation=asked, message=message), json=None if method == "GET" else BODY)
        for asked in (conversation, "0" * 24, "malformed")
    ]
    for answer in answers:
        assert answer.status_code == 404, answer.text
        body = answer.json()
        assert body.pop("request_id") == answer.headers["X-Request-ID"]
        assert body == {"detail": "Conversation not found", "code": "not_found"}
    if "{message}" in path:
        answer = bob.request(
            method, path.format(conversation=own, message=message), json=None if method == "GET" else BODY
        )
        assert (answer.status_code, answer.json()["detail"]) == (404, "Message not found")
    assert documents_of(alice) == before


def test_a_stranger_lists_only_his_own(alice: Person, bob: Person) -> None:
    alice.new_conversation(title="Talk")
    own = bob.new_conversation(title="Talk")
    assert [one["id"] for one in bob.get("chat/conversations").json()["conversations"]] == [own]
