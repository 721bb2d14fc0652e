"""manage.py import_conversations."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from bson import ObjectId
from django.conf import settings
from django.core.management import CommandError, call_command
from pymongo import MongoClient

from accounts.models import AuditEvent
from conftest import Person, full_size
from conversations.models import Import
from conversations.tests.exports import chatgpt, listed, texts


def run(email: str, file: Path | str, **options: Any) -> list[str]:
    out = io.StringIO()
    call_command("import_conversations", email, str(file), stdout=out, **options)
    return out.getvalue().splitlines()


def test_an_operator_imports_a_file(alice: Person, tmp_path: Path) -> None:
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps([chatgpt("c-1", "Hello", "Hi"), {}]))
    summary = f"Imported 1 conversations with 2 messages for {alice.email}; 1 were skipped."
    assert run(alice.email.upper(), file) == [
        "A conversation without a title was left out: it is not a conversation of the source.",
        summary,
    ]
    again = f"Imported 0 conversations with 0 messages for {alice.email}; 2 were skipped."
    assert run(alice.email, file)[-1] == again
    assert len(listed(alice)) == 1
    events = AuditEvent.objects.filter(user_id=alice.id, event="conversations_imported").order_by("id")
    assert [(each.actor_id, each.details["conversations"]) for each in events] == [(None, 1), (None, 0)]


def test_the_older_mongodb_is_read_and_its_ids_are_kept(alice: Person, bob: Person) -> None:
    name = f"older_{uuid.uuid4().hex[:12]}"
    ids = [ObjectId() for _ in range(3)]
    with MongoClient[dict[str, Any]](settings.MONGODB_URL) as client:
        try:
            for number, key in enumerate(ids):
                said = [{"role": "user", "content": f"Hello {number}"}, {"role": "assistant", "content": "Hi"}]
                owner = str(alice.id) if number < 2 else "999999999"
                client[name]["chats"].insert_one({"_id": key, "user_id": owner, "messages": said})
            server = urlsplit(settings.MONGODB_URL)
            url = server._replace(path=f"/{name}", query=server.query or "authSource=admin").geturl()
            out = run(alice.email, url, collection="chats")
            assert out[0].endswith("it belongs to another user of the older backend.")
            assert {each["id"] for each in listed(alice)} == {str(key) for key in ids[:2]}
            assert texts(alice, str(ids[0]))[0][2] == "Hello 0"
            run(bob.email, url, collection="chats", older_user=str(alice.id))
            assert {each["id"] for each in listed(bob)}.isdisjoint(map(str, ids)), "they are alice's here"
            assert len(listed(bob)) == 2
        finally:
            client.drop_database(name)


def test_an_account_that_is_full_gets_no_more(alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_CONVERSATIONS", 12)
    file = tmp_path / "conversations.json"
    file.write_text("\n".join(json.dumps(chatgpt(f"c-{number}", "Hello", "Hi")) for number in range(15)))
    out = run(alice.email, file)
    assert out[0].endswith("the account has as many conversations as it may have.")
    assert out[-1] == f"Imported 12 conversations with 24 messages for {alice.email}; 3 were skipped."
    assert len(listed(alice)) == 12


def test_faults_are_told(alice: Person, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("[{")
    running = Import.objects.create(owner_id=alice.id, bytes=1, status="running", worker="a command", by_command=True)
    for email, file, told in (
        ("nobody@example.com", broken, "no user"),
        (alice.email, tmp_path / "absent", "No such file"),
        (alice.email, tmp_path, "directory"),
        (alice.email, broken, "Imported 0"),
        (alice.email, "mongodb://127.0.0.1:1/", "no database"),
    ):
        with pytest.raises(CommandError, match=told):
            run(email, file)
    running.refresh_from_db()
    assert (running.status, running.report) == (
        "failed",
        ["The command that ran this import was ended. Run it again to go on."],
    ), "its process is unknown, so it is dead"


@pytest.mark.faults
def test_ten_thousand_conversations_take_little_memory(
    alice: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = full_size(10_000, 60)
    file = tmp_path / "conversations.json"
    with file.open("w") as written:
        for number in range(count):
            said = [f"{word} {number} " * 100 for word in ("question", "answer") * 3]
            written.write(("[" if number == 0 else ",") + json.dumps(chatgpt(f"c-{number}", *said)))
        written.write("]")
    command = [sys.executable, "manage.py", "import_conversations", alice.email, str(file), "--verbosity", "2"]
    done = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr
    memory = re.search(r"Largest memory: (\d+) MB here, (\d+) MB in the reading process", done.stdout)
    assert memory
    assert f"Imported {count} conversations" in done.stdout
    with capsys.disabled():
        print(f"{count} conversations, {file.stat().st_size // 10**6} MB: {memory[0]}")  # noqa: T201
    assert int(memory[1]) < 400
    assert int(memory[2]) < 400
