"""DELETE /users/me: no store keeps data of the account."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.utils import timezone

from accounts.lifecycle import deletion
from accounts.lifecycle.deletion import finish_deletions
from accounts.models import AuditEvent, User
from accounts.tests.staff import Staff, make_user, superuser
from conftest import Api, Person, assert_error, at_once
from conversations.replies.live import stream_key
from conversations.transcript_repository.collections import conversations
from edgechat.stores.mongo import database
from edgechat.stores.redis import redis_client
from edgechat.tests.own_stores import OwnStores
from edgechat.tests.web_settings import ELSEWHERE, WITHOUT_MONGODB
from usage.models import HourlyUsage, LedgerEntry


def rows_with(text: str) -> list[str]:
    """The rows of all PostgreSQL tables that contain a text."""
    with connection.cursor() as cursor:
        found: list[str] = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" AS t WHERE t::text ILIKE %s', [f"%{text}%"])
            found += [f"{table}: {row[0]}" for row in cursor.fetchall()]
    return found


def rows_of_user(user_id: int) -> list[str]:
    """The rows with the user's id in a column that names users. The audit log keeps the id intentionally."""
    with connection.cursor() as cursor:
        found: list[str] = []
        for table in connection.introspection.table_names(cursor):
            columns = {column.name for column in connection.introspection.get_table_description(cursor, table)}
            names = columns & {"user_id", "owner_id", "actor_id"} | ({"id"} if table == "accounts_user" else set())
            for name in names if table != "accounts_auditevent" else ():
                cursor.execute(f'SELECT t::text FROM "{table}" AS t WHERE "{name}" = %s', [user_id])
                found += [f"{table}: {row[0]}" for row in cursor.fetchall()]
    return found


def documents_with(*texts: Any) -> list[str]:
    """The documents of all collections that contain one of these texts, or the owner's id."""
    documents = (
        (name, document) for name in database().list_collection_names() for document in database()[name].find()
    )
    return [
        f"{name}: {document}"
        for name, document in documents
        if any(repr(text).strip("'") in repr(document) for text in texts if isinstance(text, str))
        or any(number in (document.get("owner_id"), document.get("_id")) for number in texts if isinstance(number, int))
    ]


def redis_keys_with(*texts: str) -> list[str]:
    """The Redis keys with one of these texts in their name or value."""
    client, found = redis_client(), []
    for key in client.scan_iter(count=1000):
        if any(text in repr(key) for text in texts):
            found.append(key.decode())
    for key in client.scan_iter(count=1000, _type="stream"):
        if any(text in repr(client.xrange(key)) for text in texts):
            found.append(key.decode())
    return found


def files_with(*texts: str) -> list[str]:
    """The files below the media folder with one of these texts in their path."""
    paths = [path.as_posix() for path in Path(settings.MEDIA_ROOT).rglob("*")]
    return [path for path in paths if any(text in path for text in texts)]


def test_nothing_is_left_of_a_deleted_account(alice: Person, anonymous: Api) -> None:
    secret = uuid.uuid4().hex
    alice.patch("users/me", json={"full_name": f"Ann {secret}"})
    conversations = [alice.new_conversation(title=f"about {secret}") for _ in range(3)]
    for conversation in conversations:
        alice.say(conversation, f"my secret is {secret}", client_message_id=f"{secret}-{conversation}")
    alice.delete(f"chat/conversations/{conversations[0]}")
    alice.post("ai/complete", json={"prompt": secret})
    alice.get("usage/me")
    calls = list(LedgerEntry.objects.filter(user_id=alice.id).values_list("pk", flat=True))
    assert len(calls) == 4
    assert rows_with(secret)
    assert rows_of_user(alice.id)
    assert documents_with(secret, alice.id)

    answer = alice.delete("users/me")
    assert (answer.status_code, answer.content) == (204, b"")

    assert rows_with(alice.email) == []
    assert rows_with(secret) == []
    assert rows_of_user(alice.id) == []
    assert [row for conversation in conversations for row in rows_with(conversation)] == []
    assert documents_with(secret, alice.email, alice.id, *conversations) == []
    kept = LedgerEntry.objects.filter(pk__in=calls, user=None)
    assert kept.count() == 4, "what the calls cost is kept, without whose they were"
    event = AuditEvent.objects.get(user_id=alice.id, event="account_deleted")
    assert (event.actor_id, event.details) == (alice.id, {})

    assert_error(alice.get("auth/me"), 401, "token_revoked", "The session has ended")
    refresh = anonymous.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]})
    assert_error(refresh, 401, "refresh_invalid", "Invalid or expired refresh token")
    credentials = {"email": alice.email, "password": alice.password}
    assert_error(
        anonymous.post("auth/login", json=credentials), 401, "invalid_credentials", "Invalid email or password"
    )
    again = anonymous.post("auth/register", json=credentials)
    assert again.status_code == 201
    with anonymous.signed_in(again.json()["access_token"]) as new:
        assert new.get("auth/me").json()["id"] != alice.id
        assert new.get("chat/conversations").json()["conversations"] == []
        assert new.get("usage/me").json()["tokens"]["total"] == 0


def test_requests_counted_after_the_deletion_leave_nothing(
    alice: Person, register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    alice.get("auth/me")
    alice.delete("users/me")
    witness = register("witness")  # its request comes after alice's in the queue
    eventually(lambda: HourlyUsage.objects.filter(user_id=witness.id).exists())
    assert rows_of_user(alice.id) == []


def test_a_reply_that_is_being_written_leaves_nothing_behind(
    alice: Person, model_calls: Callable[[str], list[dict[str, Any]]], eventually: Callable[..., Any]
) -> None:
    conversation = alice.new_conversation()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(alice.say, conversation, f"{conversation} [[delay=120]]")
        eventually(lambda: model_calls(conversation))
        assert alice.delete("users/me").status_code == 204
        assert_error(sending.result(), 401, "token_revoked", "The session has ended")
    eventually(lambda: all(call["ended_at"] for call in model_calls(conversation)))
    assert rows_of_user(alice.id) == []
    assert documents_with(alice.id, conversation) == []


def test_the_text_of_a_running_reply_is_nowhere(
    register: Callable[..., Person],
    web_with: Callable[..., str],
    web_url: str,
    model_calls: Callable[[str], list[dict[str, Any]]],
    eventually: Callable[..., Any],
) -> None:
    """One process writes the reply, and another process deletes the account."""
    carol = register("carol", web_with(**ELSEWHERE))
    secret = uuid.uuid4().hex
    conversation = carol.new_conversation(title="Titled")
    content = f"[[chunks=600]][[gap=0.2]]{secret} " + "word " * 600
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(carol.say, conversation, content)
        eventually(lambda: secret in repr(redis_client().xrange(stream_key(f"{conversation}:00000002"))))
        with Api(web_url, token=carol.tokens["access_token"]) as elsewhere:
            assert elsewhere.delete("users/me").status_code == 204
        assert_error(sending.result(), 401, "token_revoked", "The session has ended")
    eventually(lambda: [call["outcome"] for call in model_calls(secret)] == ["client_gone"])
    eventually(lambda: not LedgerEntry.objects.filter(attempt_id__contains=conversation).exists())
    eventually(lambda: not redis_keys_with(secret, conversation))
    assert rows_with(secret) + rows_with(conversation) + rows_with(carol.email) + rows_of_user(carol.id) == []
    assert documents_with(secret, conversation, carol.id) == []
    assert files_with(conversation) == []


def test_deleting_twice_at_once_deletes_once(alice: Person) -> None:
    statuses = at_once(5, lambda _: alice.delete("users/me").status_code)
    assert set(statuses) <= {204, 401}
    assert 204 in statuses
    assert not User.objects.filter(pk=alice.id).exists()


def test_a_stranger_keeps_everything(alice: Person, bob: Person) -> None:
    conversation = bob.new_conversation()
    bob.say(conversation, "hello")
    before = bob.messages(conversation)
    alice.new_conversation()
    assert alice.delete("users/me").status_code == 204
    assert bob.messages(conversation) == before
    assert bob.get("usage/me").json()["tokens"]["total"] > 0


def test_nobody_can_take_the_name_of_a_deleted_account_beforehand(alice: Person, anonymous: Api) -> None:
    names = [f"deleted-{alice.id}", f"deleted-{alice.id}@deleted.invalid"]
    statuses = [
        anonymous.post("auth/register", json={"email": name, "password": "long enough"}).status_code for name in names
    ]
    assert statuses == [422, 201]
    assert alice.delete("users/me").status_code == 204
    assert rows_of_user(alice.id) == []


def test_no_connection_is_held_while_mongodb_erases(monkeypatch: pytest.MonkeyPatch) -> None:
    user, held = make_user(), []

    def look() -> Any:
        held.append(connection.connection is not None)
        return conversations()

    monkeypatch.setattr("conversations.transcript_repository.deletion.conversations", look)
    assert deletion.delete_user(user=user, caller=None, actor_id=None)
    assert held
    assert not any(held)


@pytest.mark.faults
def test_while_a_store_is_away_the_account_is_shut_and_deleted_later(
    web_with: Callable[..., str], register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    alice = register("alice")
    conversation = alice.new_conversation()
    alice.say(conversation, "hello")
    with Api(web_with(**WITHOUT_MONGODB), token=alice.tokens["access_token"]) as elsewhere:
        assert elsewhere.delete("users/me").status_code == 204
        assert conversations().find_one({"_id": conversation})
    assert_error(alice.get("auth/me"), 401, "token_revoked", "The session has ended")
    assert rows_with(alice.email) == []

    def finished() -> bool:
        # A web process with another MongoDB, or with none, may try it at the same moment and move the time.
        User.objects.filter(pk=alice.id).update(deletion_requested_at=timezone.now() - timedelta(minutes=2))
        finish_deletions()
        return rows_of_user(alice.id) == documents_with(alice.id, conversation) == []

    eventually(finished)


def test_an_account_that_cannot_be_deleted_does_not_keep_others(
    own_stores: OwnStores, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # In a separate database: web processes would delete the accounts too, and for them nothing fails.
    stuck, other = make_user("stuck"), make_user("other")
    began = timezone.now()
    long_ago = began - timedelta(days=400)

    def erase(user_id: int) -> None:
        if user_id == stuck.pk:
            raise RuntimeError("a fault")

    monkeypatch.setattr(deletion, "_erasers", [*deletion._erasers, erase])
    User.objects.filter(pk__in=(stuck.pk, other.pk)).update(deletion_requested_at=long_ago)
    User.objects.filter(pk=stuck.pk).update(deletion_requested_at=long_ago - timedelta(days=1))
    finish_deletions()
    assert not User.objects.filter(pk=other.pk).exists()
    waiting = User.objects.get(pk=stuck.pk)
    assert waiting.deletion_requested_at is not None
    assert waiting.deletion_requested_at >= began, "it is behind all others now"
    monkeypatch.undo()
    User.objects.filter(pk=stuck.pk).update(deletion_requested_at=long_ago)
    finish_deletions()
    assert not User.objects.filter(pk=stuck.pk).exists()


def test_nothing_that_staff_did_or_wrote_names_the_account(
    web_url: str, register: Callable[..., Person], bob: Person
) -> None:
    carol = register("carol")
    named, quoted = uuid.uuid4().hex, f'"o\'neil,{uuid.uuid4().hex[:8]}"@example.com'
    first = carol.email
    carol.patch("users/me", json={"full_name": f"Ann {named}"})
    todo = carol.post("todos", json={"title": f"Call {named}"}).json()["id"]
    organization = bob.post("organizations", json={"name": "Readers"}).json()["id"]
    for address in (first, quoted):
        invited = bob.post(f"organizations/{organization}/members", json={"email": address, "role": "member"})
        assert invited.status_code == 201, invited.text
    with superuser(web_url) as staff:
        page = f"accounts/user/{carol.id}/change/"
        for fields in ({"full_name": f"Anna {named}"}, {"email": quoted}, {"is_active": None}, {"is_active": "on"}):
            assert staff.submit(page, **fields).status_code == 302, fields
        assert staff.submit(f"conversations/todo/{todo}/change/", title=f"Ring {named}").status_code in (302, 403, 404)
    assert User.objects.get(pk=carol.id).email == quoted
    assert rows_with(named)
    assert deletion.delete_user(user=User.objects.get(pk=carol.id), caller=None, actor_id=None)
    assert LogEntry.objects.filter(object_id=str(carol.id)).exists(), "that staff did something is kept"
    assert AuditEvent.objects.filter(user_id=carol.id, event="email_changed").get().details == {}
    # The name as in plain text and as in JSON.
    for text in (named, first, quoted, quoted.replace('"', '\\"'), quoted.split('"')[1]):
        assert rows_with(text) == [], text
    assert redis_keys_with(named, first, quoted) == []


def test_neither_a_login_to_the_admin_nor_the_name_of_an_own_organization_is_left(alice: Person, web_url: str) -> None:
    name = uuid.uuid4().hex
    organization = alice.post("organizations", json={"name": f"House of {name}"}).json()["id"]
    User.objects.filter(pk=alice.id).update(is_staff=True)
    with superuser(web_url) as root, closing(Staff(web_url, User.objects.get(pk=alice.id), alice.password)) as own:
        assert own.get("").status_code == 200
        renamed = root.submit(f"accounts/organization/{organization}/change/", name=f"Home of {name}")
        assert renamed.status_code == 302
        assert alice.delete("users/me").status_code == 204
        assert own.get("").status_code == 302
        assert AuditEvent.objects.filter(actor_id=root.user.pk, event="staff_change").exists()
    assert rows_with(name) == []
    with connection.cursor() as cursor:  # the rows of this table name their users in Base64
        assert "django_session" not in connection.introspection.table_names(cursor)
