"""Objects that are created during the deletion of their account leave nothing behind."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis
from PIL import Image

from accounts.lifecycle import deletion
from accounts.lifecycle.deletion import delete_user, erase_late_writes, erase_late_writes_in_turn
from accounts.login.sessions import start_session
from accounts.models import Membership, Organization, User
from accounts.organizations.invitations import invite
from accounts.organizations.services import create_organization
from accounts.tests.staff import make_user
from accounts.tests.test_delete_account import documents_with, files_with, rows_of_user, rows_with
from conversations import services
from conversations import transcript_repository as transcripts
from conversations.attachments import services as attachments
from conversations.attachments.files import save_files
from conversations.todos import services as todos
from edgechat.errors import NotAuthenticated
from edgechat.http.client_address import Caller
from edgechat.stores.mongo import MongoUnavailable
from edgechat.tests.own_stores import OwnStores
from edgechat.tests.web_settings import WITHOUT_REDIS
from usage.ledger import services as ledger
from usage.models import LedgerEntry

CALLER = Caller("127.0.0.1", "test", "test")


def picture() -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (uuid.uuid4().int & 255, 0, 0)).save(file, "PNG")
    file.seek(0)
    return file


def delete(user: User) -> None:
    assert delete_user(user=user, caller=None, actor_id=None)


def test_nothing_can_be_created_while_an_account_is_being_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    user, secret = make_user(is_superuser=True), uuid.uuid4().hex
    others = create_organization(user=make_user("other"), name="Others").organization
    creators: dict[str, Callable[[], object]] = {
        "conversation": lambda: services.create_conversation(owner_id=user.pk, title=secret),
        "todo": lambda: todos.create_todo(owner_id=user.pk, title=secret),
        "found todos": lambda: todos.file_tasks(
            owner_id=user.pk, conversation_id="a" * 24, tasks=[todos.FoundTask(secret, None, None)]
        ),
        "attachment": lambda: attachments.store_attachment(owner_id=user.pk, file=picture()),
        "organization": lambda: create_organization(user=user, name=secret),
        "invitation": lambda: invite(
            user=user, organization_id=others.pk, email=f"{secret}@example.com", role="member", caller=CALLER
        ),
        "session": lambda: start_session(user=user, caller=CALLER),
    }
    refused: list[str] = []
    files, save = [], save_files

    def save_and_note(attachment_id: uuid.UUID, *args: Any) -> None:
        files.append(attachment_id.hex)
        save(attachment_id, *args)

    monkeypatch.setattr(attachments, "save_files", save_and_note)

    def create(user_id: int) -> None:
        """Runs as the last eraser: the other erasers are done, and the user's row still exists."""
        for name, creator in creators.items():
            with pytest.raises(NotAuthenticated):
                creator()
            refused.append(name)

    monkeypatch.setattr(deletion, "_erasers", [*deletion._erasers, create])
    delete(user)
    assert refused == list(creators)
    assert rows_of_user(user.pk) == rows_with(secret) == documents_with(user.pk, secret) == []
    assert not Organization.objects.filter(name=secret).exists()
    assert not Membership.objects.filter(invited_email__contains=secret).exists()
    assert files_with(*files) == []


@pytest.mark.parametrize("key", [None, "once"])
def test_an_insert_that_was_held_back_until_the_deletion_was_done_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    user, insert = make_user(), transcripts.insert_conversation

    def held_back(*args: Any, **kwargs: Any) -> Any:
        delete(user)
        return insert(*args, **kwargs)

    monkeypatch.setattr(transcripts, "insert_conversation", held_back)
    with pytest.raises(NotAuthenticated):
        services.create_conversation(owner_id=user.pk, title="late", idempotency_key=key)
    assert documents_with(user.pk) == []


def test_a_picture_that_was_read_meanwhile_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    user, save, files = make_user(), save_files, []

    def held_back(attachment_id: uuid.UUID, *args: Any) -> None:
        delete(user)
        save(attachment_id, *args)
        assert files_with(attachment_id.hex)
        files.append(attachment_id.hex)

    monkeypatch.setattr(attachments, "save_files", held_back)
    with pytest.raises(NotAuthenticated):
        attachments.store_attachment(owner_id=user.pk, file=picture())
    assert files
    assert files_with(*files) == rows_of_user(user.pk) == []


def test_what_came_after_all_is_erased_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writing process was killed, or MongoDB applied the write after the client's timeout."""
    user, other = make_user(), make_user("other")
    delete(user)
    for owner in (user, other):
        # A web process may delete it at any moment.
        assert transcripts.insert_conversation(owner.pk, title="late")
        transcripts.number_changes(owner.pk)

    def away(user_id: int) -> None:
        raise MongoUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(deletion, "_erasers", [away])
        erase_late_writes()
    erase_late_writes()
    assert documents_with(user.pk) == []
    assert documents_with(other.pk)


def test_late_writes_are_erased_by_one_process_at_a_time_and_by_each_without_redis(
    own_stores: OwnStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user()
    erased: list[int] = []
    delete(user)
    monkeypatch.setattr(deletion, "_erasers", [erased.append])
    for _ in range(2):
        erase_late_writes_in_turn()
    assert erased == [user.pk]
    with monkeypatch.context() as patched:
        patched.setattr(deletion, "redis_client", lambda: redis.Redis.from_url(WITHOUT_REDIS["REDIS_URL"]))
        for _ in range(2):
            erase_late_writes_in_turn()
    assert erased == [user.pk] * 3


def test_a_call_of_a_deleted_account_is_not_authenticated() -> None:
    user = make_user()
    delete(user)
    attempt_id = uuid.uuid4().hex
    with pytest.raises(NotAuthenticated):
        ledger.open_entry(
            attempt_id=attempt_id,
            user_id=user.pk,
            purpose=LedgerEntry.Purpose.COMPLETE,
            model="m",
            input_tokens=1,
            max_output_tokens=1,
        )
    assert rows_with(attempt_id) == []
