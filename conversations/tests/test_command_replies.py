"""`manage.py replies` and `manage.py reap_replies`, with their own stores."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest
from django.conf import settings
from django.core.management import call_command

from edgechat.tests.own_stores import OwnStores
from usage.models import Process

Database = pymongo.database.Database[dict[str, Any]]


@pytest.fixture
def database(own_stores: OwnStores) -> Iterator[Database]:
    """MongoDB's database. No web process judges its processes, or looks for lost replies in it."""
    with pymongo.MongoClient[dict[str, Any]](settings.MONGODB_URL, tz_aware=True) as client:
        yield client[own_stores.name]


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def store_running_reply(database: Database, number: int, *, lease: timedelta | None, **reply: Any) -> str:
    """A conversation with a running reply of its own process, which has a row only if it has a lease."""
    conversation = f"{number:024x}"
    at = datetime.now(UTC)
    worker = f"web-1:{number}:{database.name}"
    if lease is not None:
        Process.objects.create(name=worker, alive_until=at + lease)
    mid = f"{conversation}:00000002"
    database["conversations"].insert_one(
        {
            "_id": conversation,
            "version": 1,
            "owner_id": number,
            "organization_id": None,
            "title": "Titled",
            "title_set_by_user": True,
            "system_instruction": None,
            "pinned": False,
            "archived": False,
            "temporary": False,
            "expires_at": None,
            "creation_key": None,
            "creation_hash": None,
            "next_seq": 3,
            "message_count": 2,
            "summary": None,
            "reply": {
                "message_id": mid,
                "user_message": {"content": "hello", "client_message_id": None, "body_hash": "", "attachments": []},
                "attempt": 1,
                "ledger_id": f"{mid}:1:test",
                "first_attempt": 1,
                "worker": worker,
                "stop_requested": False,
                "expires_at": None,
                "started_at": at - timedelta(seconds=100),
                **reply,
            },
            "change": 1,
            "created_at": at,
            "updated_at": at,
        }
    )
    return conversation


def outcome(database: Database, conversation: str) -> tuple[str, str, bool]:
    """The model message's status and text, and whether the conversation is free."""
    message = database["messages"].find_one({"_id": f"{conversation}:00000002"})
    stored = database["conversations"].find_one({"_id": conversation})
    assert message is not None
    assert stored is not None
    return message["status"], message["content"], stored["reply"] is None


def test_replies_lists_what_is_being_written_by_whom_and_since_when(database: Database) -> None:
    assert run("replies") == "0 being written.\n"
    first = store_running_reply(database, 1, lease=timedelta(hours=1, seconds=0.5))
    second = store_running_reply(database, 2, lease=-timedelta(seconds=1), attempt=2, stop_requested=True)
    third = store_running_reply(database, 3, lease=None)
    lines = sorted(run("replies").splitlines())
    assert len(lines) == 4
    words = [line.split("  ") for line in lines]
    assert words[0][:3] == [f"{first}:00000002", "user 1", "attempt 1"]
    assert words[0][4:] == [f"by web-1:1:{database.name}", words[0][5]]
    assert words[1][:3] == [f"{second}:00000002", "user 2", "attempt 2"]
    assert (words[1][4], words[1][6]) == (f"by web-1:2:{database.name}", "to be stopped")
    for line in words[:2]:
        assert int(line[3].removeprefix("since ").removesuffix(" s")) in range(100, 200)
    assert int(words[0][5].removeprefix("lease ").removesuffix(" s")) in range(3500, 3601)
    assert words[1][5] == "to be taken over"
    assert words[2][:1] + words[2][4:] == [f"{third}:00000002", f"by web-1:3:{database.name}", "to be taken over"]
    assert lines[3] == "3 being written."
    assert run("replies", "--limit", "1").splitlines()[1:] == ["1 being written."]


def test_reap_replies_ends_those_whose_process_is_gone_and_only_those(database: Database) -> None:
    gone = store_running_reply(database, 1, lease=-timedelta(seconds=1))
    stopped = store_running_reply(database, 2, lease=-timedelta(seconds=1), stop_requested=True)
    alive = store_running_reply(database, 3, lease=timedelta(hours=1))
    unknown = store_running_reply(database, 4, lease=None)
    assert run("reap_replies", "--dry-run") == "2 replies have lost their process.\n"
    assert database["messages"].count_documents({}) == 0
    assert run("reap_replies") == "3 replies ended as interrupted.\n"
    assert outcome(database, gone) == ("interrupted", "", True)
    assert outcome(database, stopped) == ("stopped", "", True)
    assert outcome(database, unknown) == ("interrupted", "", True)
    assert run("reap_replies") == "0 replies ended as interrupted.\n"
    still = database["conversations"].find_one({"_id": alive})
    assert still is not None
    assert still["reply"]["worker"] == f"web-1:3:{database.name}"
    assert database["messages"].count_documents({"conversation_id": alive}) == 0


def test_reap_replies_keeps_the_text_that_is_there(database: Database) -> None:
    conversation = store_running_reply(database, 1, lease=-timedelta(seconds=1))
    # Both messages, in the state in which the dead process left them.
    assert run("reap_replies", "--dry-run") == "1 replies have lost their process.\n"
    reply = database["conversations"].find_one({"_id": conversation})
    assert reply is not None
    partial = {
        "_id": f"{conversation}:00000002",
        "conversation_id": conversation,
        "owner_id": 1,
        "seq": 2,
        "role": "model",
        "content": "Half of an ans",
        "status": "generating",
        "attempt": 1,
        "variants": [],
        "created_at": reply["created_at"],
    }
    database["messages"].insert_one(partial)
    run("reap_replies")
    assert outcome(database, conversation) == ("interrupted", "Half of an ans", True)
    question = database["messages"].find_one({"_id": f"{conversation}:00000001"})
    assert question is not None
    assert (question["role"], question["content"]) == ("user", "hello")
