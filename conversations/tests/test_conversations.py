"""POST and GET /chat/conversations, GET and DELETE /chat/conversations/{id}."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.models import Membership, Organization
from conftest import Api, Person, assert_error, at_once
from conversations.transcript_repository.collections import conversations, messages
from edgechat.tests.web_settings import TWO_PROCESSES

NOT_FOUND = {"detail": "Conversation not found", "code": "not_found"}
MALFORMED_IDS = [
    "x",
    "0",
    "1" * 200,
    "%20",
    "%00",
    "%F0%9F%98%80",
    "..%5C",
    "None",
    "00000000-0000-0000-0000-000000000000",
]
# Each call on one conversation: method, path after the id, body. `MID` stands for the model message's id.
CALLS_WITH_AN_ID: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PATCH", "", {"title": "theirs"}),
    ("DELETE", "", None),
    ("GET", "/messages", None),
    ("POST", "/messages", {"content": "intruder"}),
    ("GET", "/messages/MID", None),
    ("POST", "/messages/MID/stop", None),
    ("POST", "/messages/MID/regenerate", {"content": "intruder"}),
    ("GET", "/messages/MID/stream", None),
    ("PUT", "/messages/MID/feedback", {"rating": "down"}),
    ("GET", "/export", None),
]


def listed(person: Person, **query: Any) -> list[str]:
    body = person.get("chat/conversations", params=query).json()
    return [conversation["id"] for conversation in body["conversations"]]


def assert_not_found(person: Person, method: str, path: str, body: Any = None) -> None:
    answer = person.request(method, path, json=body)
    told = answer.json()
    assert (answer.status_code, told) == (404, {**NOT_FOUND, "request_id": answer.headers["X-Request-ID"]})


@pytest.mark.parametrize(
    "kwargs", [{}, {"json": {}}, {"content": b"", "headers": {"Content-Type": "application/json"}}]
)
def test_a_conversation_needs_no_body(alice: Person, kwargs: dict[str, Any]) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    answer = alice.post("chat/conversations", **kwargs)
    body = answer.json()
    created = body.pop("created_at")
    assert answer.status_code == 201
    assert created.endswith("Z")
    assert before <= datetime.fromisoformat(created) <= datetime.now(UTC)
    conversation = body.pop("id")
    assert body == {
        "title": None,
        "system_instruction": None,
        "organization_id": None,
        "pinned": False,
        "archived": False,
        "temporary": False,
        "message_count": 0,
        "last_seq": 0,
        "updated_at": created,
    }
    assert isinstance(conversation, str)
    assert alice.get(f"chat/conversations/{conversation}").json() == answer.json()


def test_all_fields_are_kept(alice: Person) -> None:
    organization = Organization.objects.create(name="Readers")
    Membership.objects.create(organization=organization, user_id=alice.id, role="member")
    given = {
        "title": "Größe 😀",
        "system_instruction": "Line one\nLine two\t",
        "organization_id": organization.pk,
        "temporary": True,
    }
    answer = alice.post("chat/conversations", json=given)
    body = answer.json()
    assert answer.status_code == 201
    assert body == {
        **given,
        "system_instruction": body["system_instruction"],
        "id": body["id"],
        "pinned": False,
        "archived": False,
        "message_count": 0,
        "last_seq": 0,
        "created_at": body["created_at"],
        "updated_at": body["created_at"],
    }
    assert body["system_instruction"].strip() == "Line one\nLine two"
    assert alice.get(f"chat/conversations/{body['id']}").json() == body


@pytest.mark.parametrize("title", ["t" * 200, "😀" * 200])
def test_the_longest_title_is_taken(alice: Person, title: str) -> None:
    assert alice.post("chat/conversations", json={"title": title}).json()["title"] == title


@pytest.mark.parametrize(
    "given", [{"title": ""}, {"title": None}, {"system_instruction": ""}, {"organization_id": None}]
)
def test_empty_fields_are_as_absent(alice: Person, given: dict[str, Any]) -> None:
    body = alice.post("chat/conversations", json=given).json()
    assert (body["title"], body["system_instruction"], body["organization_id"]) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"title": "t" * 201}, "body.title"),
        ({"title": 5.5}, "body.title"),
        ({"title": ["t"]}, "body.title"),
        ({"title": {"a": 1}}, "body.title"),
        ({"title": True}, "body.title"),
        ({"title": "a\x00b"}, "body.title"),
        ({"system_instruction": "s" * 8001}, "body.system_instruction"),
        ({"system_instruction": []}, "body.system_instruction"),
        ({"organization_id": "x"}, "body.organization_id"),
        ({"organization_id": 0}, "body.organization_id"),
        ({"organization_id": -1}, "body.organization_id"),
        ({"organization_id": 2**63}, "body.organization_id"),
        ({"organization_id": 1.5}, "body.organization_id"),
        ({"temporary": "perhaps"}, "body.temporary"),
        ({"temporary": None}, "body.temporary"),
        ([], "body"),
        ("text", "body"),
        (5, "body"),
    ],
)
def test_what_is_wrong_is_named(alice: Person, given: Any, field: str) -> None:
    answer = alice.post("chat/conversations", json=given)
    body = answer.json()
    assert (answer.status_code, body["code"], [error["field"] for error in body["errors"]]) == (
        422,
        "validation_error",
        [field],
    )
    assert listed(alice) == []


def test_half_a_surrogate_pair_is_refused_not_stored(alice: Person) -> None:
    answer = alice.post(
        "chat/conversations", content=b'{"title": "\\ud800"}', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422), answer.text
    assert listed(alice) == []


def test_an_unknown_and_a_foreign_organization_are_404_alike(alice: Person, bob: Person) -> None:
    foreign = Organization.objects.create(name="Not hers")
    Membership.objects.create(organization=foreign, user_id=bob.id, role="owner")
    told = []
    for organization in (foreign.pk, 2**63 - 1):
        answer = alice.post("chat/conversations", json={"organization_id": organization})
        assert answer.status_code == 404
        told.append({**answer.json(), "request_id": None})
    assert told[0] == told[1] == {"detail": "Organization not found", "code": "not_found", "request_id": None}
    assert listed(alice) == []


def test_a_list_has_twenty_and_the_rest_is_behind_skip(alice: Person) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda n: alice.new_conversation(title=str(n)), range(21)))
    first = alice.get("chat/conversations").json()
    assert (len(first["conversations"]), first["has_more"]) == (20, True)
    rest = alice.get("chat/conversations", params={"skip": 20}).json()
    assert (len(rest["conversations"]), rest["has_more"], rest["next_cursor"]) == (1, False, None)
    assert {each["id"] for each in first["conversations"] + rest["conversations"]} == made
    everything = alice.get("chat/conversations", params={"limit": 100}).json()
    assert everything["conversations"] == first["conversations"] + rest["conversations"]


@pytest.mark.parametrize(
    ("limit", "skip", "expected", "has_more"),
    [
        (1, 0, [2], True),
        (2, 0, [2, 1], True),
        (3, 0, [2, 1, 0], False),
        (2, 1, [1, 0], False),
        (1, 2, [0], False),
        (2, 3, [], False),
        (100, 1_000_000, [], False),
    ],
)
def test_has_more_is_true_only_if_there_is_more(
    alice: Person, limit: int, skip: int, expected: list[int], has_more: bool
) -> None:
    made = [alice.new_conversation(title=str(n)) for n in range(3)]
    body = alice.get("chat/conversations", params={"limit": limit, "skip": skip}).json()
    assert [each["id"] for each in body["conversations"]] == [made[n] for n in expected]
    assert (body["has_more"], body["next_cursor"] is not None) == (has_more, has_more)


def test_the_list_shows_what_get_shows_after_a_message(alice: Person) -> None:
    conversation = alice.new_conversation(title="Chat")
    alice.new_conversation(title="Later")
    alice.say(conversation, "hello")
    shown = alice.get(f"chat/conversations/{conversation}").json()
    assert (shown["message_count"], shown["last_seq"]) == (2, 2)
    assert shown["updated_at"] > shown["created_at"]
    assert alice.get("chat/conversations").json()["conversations"][0] == shown


def test_a_deleted_conversation_is_gone_everywhere(alice: Person) -> None:
    conversation, kept = alice.new_conversation(title="Gone"), alice.new_conversation(title="Kept")
    mid = alice.say(conversation, "forget me").json()["model_message"]["id"]
    alice.say(kept, "keep me")
    answer = alice.delete(f"chat/conversations/{conversation}")
    assert (answer.status_code, answer.content) == (204, b"")
    for method, path, body in CALLS_WITH_AN_ID:
        assert_not_found(alice, method, f"chat/conversations/{conversation}{path.replace('MID', mid)}", body)
    assert listed(alice) == [kept]
    assert messages().count_documents({"conversation_id": conversation}) == 0
    assert conversations().count_documents({"_id": conversation}) == 0
    assert len(alice.messages(kept)["messages"]) == 2


def test_two_deletions_at_once_are_one_204_and_404s(alice: Person) -> None:
    conversation = alice.new_conversation(title="Gone")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: alice.delete(f"chat/conversations/{conversation}"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 7


@pytest.mark.parametrize(("method", "path", "body"), CALLS_WITH_AN_ID)
def test_a_stranger_gets_404_and_changes_nothing(alice: Person, bob: Person, method: str, path: str, body: Any) -> None:
    conversation = alice.new_conversation(title="Hers", system_instruction="Be brief")
    mid = alice.say(conversation, "mine").json()["model_message"]["id"]
    before = alice.get(f"chat/conversations/{conversation}").json(), alice.messages(conversation)
    assert_not_found(bob, method, f"chat/conversations/{conversation}{path.replace('MID', mid)}", body)
    assert (alice.get(f"chat/conversations/{conversation}").json(), alice.messages(conversation)) == before
    # Nor with the id of bob's own conversation.
    his = bob.new_conversation(title="His")
    if "MID" in path:
        answer = bob.request(method, f"chat/conversations/{his}{path.replace('MID', mid)}", json=body)
        assert (answer.status_code, answer.json()["detail"]) == (404, "Message not found")
        assert alice.messages(conversation) == before[1]


@pytest.mark.parametrize(("method", "path", "body"), CALLS_WITH_AN_ID)
def test_absent_and_malformed_ids_are_the_same_404(alice: Person, method: str, path: str, body: Any) -> None:
    own = alice.new_conversation(title="Own")
    absent = own[:-1] + ("0" if own[-1] != "0" else "1")
    for conversation in [absent, own.upper() + "A", own + "%0A", *MALFORMED_IDS]:
        mid = f"{conversation}:00000002"
        assert_not_found(alice, method, f"chat/conversations/{conversation}{path.replace('MID', mid)}", body)


@pytest.mark.parametrize(
    "mid", ["x", "1", "OWN:1", "OWN:00000003", "OWN:99999999999", "OWN:-0000001", "%00", "OWN:0000000%0A"]
)
def test_absent_and_malformed_message_ids_are_404(alice: Person, mid: str) -> None:
    own = alice.new_conversation(title="Own")
    alice.say(own, "hello")
    answer = alice.get(f"chat/conversations/{own}/messages/{mid.replace('OWN', own)}")
    assert (answer.status_code, answer.json()["detail"], answer.json()["code"]) == (
        404,
        "Message not found",
        "not_found",
    )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "", {}), ("GET", "", None), *[(method, f"/x{path}", body) for method, path, body in CALLS_WITH_AN_ID]],
)
def test_every_call_needs_a_token(anonymous: Api, method: str, path: str, body: Any) -> None:
    answer = anonymous.request(method, f"chat/conversations{path}", json=body)
    assert (answer.status_code, answer.json()["code"], answer.headers["WWW-Authenticate"]) == (
        401,
        "not_authenticated",
        "Bearer",
    )


def test_more_conversations_than_an_account_can_have_are_409_also_at_once(
    web_with: Callable[..., str], register: Callable[..., Person]
) -> None:
    url = web_with(**TWO_PROCESSES)
    carol, dave = register("carol", url), register("dave", url)
    first = carol.post("chat/conversations", headers={"Idempotency-Key": "first"})
    answers = at_once(16, lambda number: carol.post("chat/conversations", json={"temporary": number % 2 == 0}))
    assert sorted(answer.status_code for answer in answers) == [201] * 11 + [409] * 5
    detail = "An account can have 12 conversations"
    for refused in (answer for answer in answers if answer.status_code == 409):
        assert_error(refused, 409, "too_many_conversations", detail, context={"limit": 12})
    again = carol.post("chat/conversations", headers={"Idempotency-Key": "first"})
    assert (again.status_code, again.json()) == (201, first.json())
    assert carol.delete(f"chat/conversations/{first.json()['id']}").status_code == 204
    assert [carol.post("chat/conversations").status_code for _ in range(2)] == [201, 409]
    dave.new_conversation()
