"""Conversations of an organization: all members can read them, only their author can write."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from accounts.models import Organization, User
from accounts.tests.organizations import join, new_organization
from accounts.tests.staff import superuser
from conftest import Person, assert_error
from conversations.tests.events import follow, stream_send, text_of
from conversations.tests.test_attachments import picture, upload
from conversations.tests.test_strangers import BODY, ROUTES, documents_of
from conversations.transcript_repository.collections import conversations, now
from usage.models import LedgerEntry

READING = [path for method, path in ROUTES if method == "GET"]
WRITING = [(method, path) for method, path in ROUTES if method != "GET"]
DENIED = "You do not have permission to do this"


@pytest.fixture
def organization(alice: Person, bob: Person) -> Organization:
    """An organization that Alice owns and of which Bob is a member."""
    return new_organization(owner=alice, member=bob)


@pytest.fixture
def shared(alice: Person, organization: Organization) -> str:
    return alice.new_conversation(title="Travel plans", organization_id=organization.pk)


def leave(person: Person, organization: Organization) -> None:
    assert person.delete(f"organizations/{organization.pk}/members/{person.id}").status_code == 204


def listed(person: Person, **query: Any) -> list[str]:
    answer = person.get("chat/conversations", params=query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["conversations"]]


def assert_not_found(answer: httpx2.Response) -> None:
    assert_error(answer, 404, "not_found", "Conversation not found")


@pytest.mark.parametrize("path", READING)
def test_a_member_reads_what_the_author_reads_and_no_longer_than_being_one(
    alice: Person, bob: Person, organization: Organization, shared: str, path: str
) -> None:
    message = alice.say(shared, "Where to?").json()["model_message"]["id"]
    filled = path.format(conversation_id=shared, mid=message)
    own, read = alice.get(filled), bob.get(filled)
    assert (own.status_code, read.status_code) == (200, 200)
    assert read.content == own.content
    assert alice.delete(f"organizations/{organization.pk}/members/{bob.id}").status_code == 204
    assert_not_found(bob.get(filled))
    assert alice.get(filled).status_code == 200


@pytest.mark.parametrize(("method", "path"), WRITING, ids=[f"{method} {path}" for method, path in WRITING])
def test_only_the_author_writes(
    alice: Person, bob: Person, organization: Organization, shared: str, method: str, path: str
) -> None:
    message = alice.say(shared, "Where to?", client_message_id="phone-1").json()["model_message"]["id"]
    before = documents_of(alice), documents_of(bob)
    answer = bob.request(method, path.format(conversation_id=shared, mid=message), json=BODY)
    assert_error(answer, 403, "permission_denied", DENIED)
    leave(bob, organization)
    assert_not_found(bob.request(method, path.format(conversation_id=shared, mid=message), json=BODY))
    assert (documents_of(alice), documents_of(bob)) == before


def test_a_conversation_without_an_organization_is_the_author_s_alone(
    alice: Person, bob: Person, organization: Organization
) -> None:
    private = alice.new_conversation(title="Private")
    other = alice.new_conversation(organization_id=new_organization(owner=alice).pk)
    for conversation in (private, other):
        assert_not_found(bob.get(f"chat/conversations/{conversation}"))
        assert_not_found(bob.post(f"chat/conversations/{conversation}/messages", json={"content": "hello"}))
    assert listed(bob, organization_id=organization.pk) == []


def test_a_superuser_who_is_not_in_it_reads_nothing(alice: Person, register: Any, shared: str) -> None:
    root = register("root")
    User.objects.filter(pk=root.id).update(is_superuser=True, is_staff=True)
    assert_not_found(root.get(f"chat/conversations/{shared}"))


def test_a_member_follows_a_running_reply(
    alice: Person, bob: Person, shared: str, eventually: Callable[..., Any]
) -> None:
    text = "[[chunks=6]][[gap=0.2]]one two three four five six"
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(stream_send, alice, shared, text)
        [answer] = eventually(lambda: bob.messages(shared)["messages"][1:])
        status, events = follow(bob, shared, answer["id"])
        final = sending.result()[-1]
    assert status == 200
    assert (text_of(events), events[-1]) == (final["data"]["content"], final)


def test_a_picture_is_read_by_those_who_read_its_conversation(
    alice: Person, bob: Person, organization: Organization, shared: str
) -> None:
    sent, unsent, private = (upload(alice, picture()).json()["id"] for _ in range(3))
    assert alice.say(shared, "Where is this?", attachment_ids=[sent]).status_code == 200
    assert alice.say(alice.new_conversation(), "And this?", attachment_ids=[private]).status_code == 200
    for size in ("full", "thumb"):
        own, read = (each.get(f"chat/attachments/{sent}", params={"size": size}) for each in (alice, bob))
        assert (own.status_code, read.status_code, read.content) == (200, 200, own.content)
    assert_error(bob.delete(f"chat/attachments/{sent}"), 403, "permission_denied", DENIED)
    # Read access to a picture does not allow sending it.
    answer = bob.say(bob.new_conversation(), "Whose is this?", attachment_ids=[sent])
    assert_error(answer, 404, "not_found", "Attachment not found")
    for other in (unsent, private):
        for method in ("GET", "DELETE"):
            answer = bob.request(method, f"chat/attachments/{other}")
            assert_error(answer, 404, "not_found", "Attachment not found")
    leave(bob, organization)
    for method in ("GET", "DELETE"):
        assert_error(bob.request(method, f"chat/attachments/{sent}"), 404, "not_found", "Attachment not found")
    assert alice.get(f"chat/attachments/{sent}").status_code == 200


def test_the_organization_s_list_has_all_members_conversations(
    alice: Person, bob: Person, register: Any, organization: Organization, shared: str
) -> None:
    carol = register("carol")
    theirs = bob.new_conversation(title="Reading list", organization_id=organization.pk)
    private = bob.new_conversation()
    for person in (alice, bob):
        assert listed(person, organization_id=organization.pk) == [theirs, shared]
        assert listed(person, organization_id=organization.pk, q="TRAVEL") == [shared]
    assert listed(alice) == [shared]
    assert listed(bob) == [private, theirs]
    body = bob.get("chat/conversations", params={"organization_id": organization.pk}).json()
    assert body == {
        "conversations": [
            person.get(f"chat/conversations/{one}").json() for person, one in ((bob, theirs), (alice, shared))
        ],
        "has_more": False,
        "next_cursor": None,
    }
    alice.say(shared, "Where to?")
    assert listed(bob, organization_id=organization.pk) == [shared, theirs]
    alice.patch(f"chat/conversations/{shared}", json={"archived": True})
    assert listed(bob, organization_id=organization.pk) == [theirs]
    assert listed(bob, organization_id=organization.pk, archived=True) == [shared]
    for number in (organization.pk, 2**62):
        answer = carol.get("chat/conversations", params={"organization_id": number})
        assert_error(answer, 404, "not_found", "Organization not found")


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_pages_of_the_list_neither_skip_nor_repeat_one(
    alice: Person, bob: Person, organization: Organization, limit: int
) -> None:
    made = [person.new_conversation(organization_id=organization.pk) for person in (alice, bob) * 4]
    # Some conversations changed in the same millisecond.
    at = datetime.now(UTC).replace(microsecond=500_000)
    for number, conversation in enumerate(made):
        changed_at = at - timedelta(seconds=(0, 0, 0, 1, 1, 2, 2, 2)[number])
        conversations().update_one({"_id": conversation}, {"$set": {"updated_at": changed_at}})
    found: list[str] = []
    query: dict[str, Any] = {"organization_id": organization.pk, "limit": limit}
    while True:
        body = bob.get("chat/conversations", params=query).json()
        found += [one["id"] for one in body["conversations"]]
        assert body["has_more"] is (body["next_cursor"] is not None) is (len(found) < len(made))
        if not body["has_more"]:
            break
        assert len(body["conversations"]) == limit
        query["cursor"] = body["next_cursor"]
    groups = [made[:3], made[3:5], made[5:]]
    assert found == [one for group in groups for one in sorted(group, reverse=True)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"organization_id": "x"}, "query.organization_id"),
        ({"organization_id": 0}, "query.organization_id"),
        ({"organization_id": 2**63}, "query.organization_id"),
        ({"organization_id": 1, "skip": 0}, "query.skip"),
        ({"organization_id": 1, "pinned_first": True}, "query.pinned_first"),
        ({"organization_id": 1, "cursor": "0-1"}, "query.cursor"),
        ({"cursor": "1767268800000.65f1c0ffee0123456789abcd"}, "query.cursor"),
    ],
)
def test_a_query_that_cannot_be_is_422(alice: Person, query: dict[str, Any], field: str) -> None:
    answer = alice.get("chat/conversations", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_who_leaves_keeps_the_own_conversations_and_shares_them_no_longer(
    alice: Person, bob: Person, organization: Organization
) -> None:
    theirs = bob.new_conversation(title="Reading list", organization_id=organization.pk)
    since = bob.get("chat/changes").json()["next_since"]
    leave(bob, organization)
    kept = bob.get(f"chat/conversations/{theirs}").json()
    assert (kept["title"], kept["organization_id"]) == ("Reading list", None)
    assert bob.get("chat/changes", params={"since": since}).json()["conversations"] == [kept]
    assert_not_found(alice.get(f"chat/conversations/{theirs}"))
    assert listed(alice, organization_id=organization.pk) == []
    assert bob.say(theirs, "What next?").status_code == 200
    join(organization, bob)
    assert_not_found(alice.get(f"chat/conversations/{theirs}"))
    assert listed(alice, organization_id=organization.pk) == []


@pytest.mark.parametrize("by_staff", [False, True], ids=["by its owner", "by staff"])
def test_conversations_outlive_their_organization(
    web_url: str, alice: Person, bob: Person, organization: Organization, shared: str, by_staff: bool
) -> None:
    theirs = bob.new_conversation(organization_id=organization.pk)
    if by_staff:
        with superuser(web_url) as root:
            assert root.submit(f"accounts/organization/{organization.pk}/delete/").status_code == 302
    else:
        assert alice.delete(f"organizations/{organization.pk}").status_code == 204
    for author, other, conversation in ((alice, bob, shared), (bob, alice, theirs)):
        assert author.get(f"chat/conversations/{conversation}").json()["organization_id"] is None
        assert author.say(conversation, "Still here?").status_code == 200
        assert_not_found(other.get(f"chat/conversations/{conversation}"))


def test_what_mongodb_was_not_told_of_gives_nobody_anything(
    alice: Person, bob: Person, organization: Organization
) -> None:
    theirs = bob.new_conversation(title="Titled", organization_id=organization.pk)
    sent = upload(bob, picture()).json()["id"]
    assert bob.say(theirs, "While in it", attachment_ids=[sent]).status_code == 200
    leave(bob, organization)
    conversations().update_one({"_id": theirs}, {"$set": {"organization_id": organization.pk}})
    assert_not_found(alice.get(f"chat/conversations/{theirs}"))
    assert alice.get(f"chat/attachments/{sent}").status_code == 404
    assert listed(alice, organization_id=organization.pk) == []
    assert bob.say(theirs, "Having left it").status_code == 200
    organization_id = organization.pk
    organization.delete()
    conversations().update_one({"_id": theirs}, {"$set": {"organization_id": organization_id}})
    assert bob.say(theirs, "After its end").status_code == 200
    rows = LedgerEntry.objects.filter(user_id=bob.id, purpose="chat").order_by("id")
    # The deletion of the organization removed it from the first entry.
    assert list(rows.values_list("organization_id", flat=True)) == [None, None, None]


def test_a_call_is_charged_to_the_organization_while_the_author_is_in_it(
    alice: Person, organization: Organization, shared: str
) -> None:
    assert alice.say(shared, "Where to?").status_code == 200
    charged = LedgerEntry.objects.filter(user_id=alice.id, purpose="chat").values_list("organization_id", flat=True)
    assert list(charged) == [organization.pk]


def test_a_temporary_conversation_is_shared_by_its_id_until_it_is_over(
    alice: Person, bob: Person, organization: Organization
) -> None:
    temporary = alice.new_conversation(organization_id=organization.pk, temporary=True)
    assert listed(bob, organization_id=organization.pk) == []
    assert bob.get(f"chat/conversations/{temporary}").json()["id"] == temporary
    past = now() - timedelta(seconds=1)
    conversations().update_one({"_id": temporary}, {"$set": {"expires_at": past}})
    assert listed(bob, organization_id=organization.pk) == []
    assert_not_found(bob.get(f"chat/conversations/{temporary}"))
