"""manage.py backup and restore, from a system that serves into an empty one."""

from __future__ import annotations

import io
import itertools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import psycopg
import pytest
import redis
from django.core.management import call_command
from pymongo import MongoClient

from conftest import Api, Person
from conversations.tests.test_attachments import picture, upload
from edgechat.local.process import lives
from edgechat.local.web import WebServer
from edgechat.management.backup.places import FolderPlace
from edgechat.tests.own_stores import OwnStores, new_stores
from edgechat.tests.test_backup_pg_dump import PROGRAMS

PROJECT = Path(__file__).parents[2]
Eventually = Callable[..., Any]


@dataclass
class System:
    """EdgeChat with stores and a folder of its own."""

    folder: Path
    stores: OwnStores

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.stores.env,
            "DATA_DIR": str(self.folder),
            "JWT_SECRET": "the same secret in both systems, 0123456789",
            "RATE_LIMIT_REQUESTS": "100000",
            "AUTH_RATE_LIMIT": "1000/m",
        }

    def manage(self, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command; `path` has its programs."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env={**os.environ, **self.environment, **({"PATH": str(path)} if path else {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture
def new_system(shared_servers: None, data_dir: Path) -> Iterator[Callable[..., System]]:
    """Make a system without documents, and without tables unless it is `migrated`."""
    with ExitStack() as made:

        def make(*, migrated: bool = False) -> System:
            stores = made.enter_context(new_stores(migrated=migrated))
            folder = data_dir / stores.name
            folder.mkdir(mode=0o700)
            return System(folder, stores)

        yield make


def archive_in(folder: Path) -> Path:
    [archive] = folder.iterdir()
    return archive


def whole_transcript(person: Api, conversation: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = person.get(f"chat/conversations/{conversation}/messages").json()["messages"]
    return messages


def test_a_system_that_serves_is_copied_and_an_empty_one_goes_on_from_the_copy(
    new_system: Callable[..., System],
    start_web: Callable[..., WebServer],
    register: Callable[..., Person],
    data_dir: Path,
    eventually: Eventually,
) -> None:
    source = new_system(migrated=True)
    web = start_web(**source.environment)
    alice, bob, carol = (register(name, web.url) for name in ("alice", "bob", "carol"))
    kept = alice.new_conversation(title="Kept\twith\\all\nits characters 😀")
    shown = upload(alice, picture(70, 50)).json()
    assert alice.say(kept, "a picture\\N", attachment_ids=[shown["id"]]).status_code == 200
    assert alice.say(kept, "and more").status_code == 200
    deleted = alice.new_conversation(title="Deleted")
    assert alice.delete(f"chat/conversations/{deleted}").status_code == 204
    assert alice.post("todos", json={"title": "Call\tBob"}).status_code == 200
    organization = alice.post("organizations", json={"name": "Readers"}).json()["id"]
    key = alice.post("auth/api-keys", json={"name": "program", "scopes": ["ai", "chat"]}).json()["key"]
    assert carol.say(carol.new_conversation(title="Carol's"), "soon gone").status_code == 200
    since = alice.get("chat/changes").json()["next_since"]
    transcript = whole_transcript(alice, kept)
    tokens = alice.get("usage/me").json()["tokens"]

    # Traffic during the copy: a reply that does not end, and conversations that grow, are answered again and deleted.
    slow = bob.new_conversation(title="Slow")

    def wait_for_answer() -> None:
        with suppress(httpx2.TransportError):  # the web process is killed first
            bob.say(slow, "[[chunks=100]][[gap=5]][[length=3000]]")

    threading.Thread(target=wait_for_answer, daemon=True).start()
    eventually(lambda: [each["status"] for each in whole_transcript(bob, slow)] == ["complete", "generating"])
    stop = threading.Event()
    other = bob.signed_in(bob.tokens["access_token"])

    def keep_busy() -> None:
        for number in itertools.count():
            if stop.wait(0.05):  # the copy needs the CPU too
                return
            if number % 20 == 0:  # one page of messages, however long the copy takes
                busy = other.post("chat/conversations", json={"title": "Busy"}).json()["id"]
            short = other.post("chat/conversations", json={"title": "Short"}).json()["id"]
            for conversation in (busy, short):
                answer = other.post(f"chat/conversations/{conversation}/messages", json={"content": "more"})
                assert answer.status_code == 200
            mid = answer.json()["model_message"]["id"]
            other.post(f"chat/conversations/{short}/messages/{mid}/regenerate")
            other.delete(f"chat/conversations/{short}")

    traffic = threading.Thread(target=keep_busy)
    traffic.start()
    try:
        done = source.manage("backup", str(data_dir / "backups"), path=PROGRAMS)
    finally:
        stop.set()
        traffic.join(120)
    assert done.returncode == 0, done.stderr
    archive = archive_in(data_dir / "backups")
    assert done.stdout.splitlines()[-1] == f"Wrote and verified {archive}"
    assert "Copying PostgreSQL by pg_dump 18." in done.stdout
    assert archive.stat().st_mode & 0o777 == 0o600

    # After the copy: others know ids, numbers and tokens that the copy lacks.
    later = alice.new_conversation(title="Later")
    assert alice.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]}).status_code == 200
    dave = register("dave", web.url)
    last_since = alice.get("chat/changes").json()["next_since"]
    assert last_since > since
    web.kill()

    target = new_system()
    done = target.manage("restore", str(archive))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid API keys: 1." in done.stdout

    web = start_web(**target.environment)
    old = Api(web.url, token=alice.tokens["access_token"])
    assert old.get("auth/me").status_code == 401, "a session from before"
    login = old.post("auth/login", json={"email": alice.email, "password": alice.password})
    alice = old.signed_in(login.json()["access_token"])  # type: ignore[assignment]
    assert whole_transcript(alice, kept) == transcript
    assert alice.get(f"chat/conversations/{later}").status_code == 404
    file = alice.get(f"chat/attachments/{shown['id']}")
    assert (file.status_code, len(file.content)) == (200, shown["bytes"])
    assert [todo["title"] for todo in alice.get("todos").json()] == ["Call\tBob"]
    assert [each["id"] for each in alice.get("organizations").json()["organizations"]] == [organization]
    assert alice.get("usage/me").json()["tokens"]["total"] == tokens["total"]
    assert alice.signed_in(key).get(f"chat/conversations/{kept}").status_code == 200
    # A device is told all conversations again, whatever it knew.
    for known in (since, last_since):
        changes = alice.get("chat/changes", params={"since": known}).json()
        assert [each["id"] for each in changes["conversations"]] == [kept]
        assert changes["deleted"] == [deleted]
        assert changes["next_since"] > last_since
    assert alice.post(f"chat/conversations/{kept}/messages", json={"content": "goes on"}).status_code == 200
    assert [each["seq"] for each in whole_transcript(alice, kept)] == [1, 2, 3, 4, 5, 6]

    # No id is given twice, no reply stays unended, nothing is left of a conversation that was deleted meanwhile.
    erin = register("erin", web.url)
    assert erin.id > dave.id
    login = old.post("auth/login", json={"email": bob.email, "password": bob.password})
    bob = old.signed_in(login.json()["access_token"])  # type: ignore[assignment]
    mid = whole_transcript(bob, slow)[1]["id"]
    assert bob.post(f"chat/conversations/{slow}/messages/{mid}/stop").status_code == 200
    listed = bob.get("chat/conversations", params={"limit": 100}).json()["conversations"]
    for conversation in listed:
        eventually(
            lambda found=conversation["id"]: all(
                message["status"] != "generating" for message in whole_transcript(bob, found)
            )
        )
        messages = whole_transcript(bob, conversation["id"])
        assert [each["seq"] for each in messages] == list(range(1, len(messages) + 1))
        assert conversation["last_seq"] in (len(messages), 0)
        assert bob.post(f"chat/conversations/{conversation['id']}/messages", json={"content": "on"}).status_code == 200
    mongo: MongoClient[Any] = MongoClient(os.environ["MONGODB_URL"])
    with mongo:
        database = mongo[target.stores.name]
        known = {each["_id"] for each in database["conversations"].find({}, {"_id": 1})}
        assert {each["conversation_id"] for each in database["messages"].find({}, {"conversation_id": 1})} <= known
        assert not {each["_id"] for each in database["tombstones"].find({"purged": True}, {"_id": 1})} & known
    unsettled = "SELECT count(*) FROM usage_ledgerentry WHERE settled_at IS NULL"
    reserved = "SELECT sum(reserved_tokens)::bigint FROM usage_spending"
    eventually(lambda: (target.stores.rows(unsettled), target.stores.rows(reserved)) == ([(0,)], [(0,)]))


def test_a_store_with_data_and_a_damaged_archive_are_refused_before_anything_is_written(
    new_system: Callable[..., System], data_dir: Path
) -> None:
    source, target = new_system(migrated=True), new_system()
    refused = target.manage("backup", str(data_dir / "backups"))
    assert refused.returncode == 1
    assert "Run `manage.py migrate` first" in refused.stderr
    done = source.manage("backup", str(data_dir / "backups"), path=data_dir)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Copying PostgreSQL by psycopg \S+: there is no pg_dump$", done.stdout, re.MULTILINE)
    archive = archive_in(data_dir / "backups")

    def has_tables() -> bool:
        return target.stores.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") != [(0,)]

    whole = archive.read_bytes()
    middle = len(whole) // 2
    damaged = data_dir / "damaged.tar.gz"
    damaged.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    refused = target.manage("restore", str(damaged))
    assert refused.returncode == 1
    assert re.search(r"^CommandError: The archive ", refused.stderr)
    assert not has_tables()

    filled = new_system(migrated=True)  # rows that migrations make are no obstacle
    with psycopg.connect(filled.stores.database_url) as connection:
        connection.execute("INSERT INTO accounts_organization (name, created_at) VALUES ('another', now())")
    mongo: MongoClient[Any] = MongoClient(os.environ["MONGODB_URL"])
    with mongo, closing(redis.Redis.from_url(filled.stores.redis_url)) as client:
        mongo[filled.stores.name]["owners"].insert_one({"_id": 1, "change": 1})
        client.set("a key of another system", 1)
    (filled.folder / "media" / "attachments" / "ab").mkdir(parents=True)
    refused = filled.manage("restore", str(archive))
    assert (
        "CommandError: Restore only into empty stores: PostgreSQL has rows in accounts_organization; "
        "MongoDB has documents in owners; the storage has pictures; Redis has keys. Nothing was changed.\n"
    ) in refused.stderr
    checked = io.StringIO()
    call_command("restore", "--check", str(archive), stdout=checked)
    assert re.fullmatch(r"The archive of \S+ is whole\.\n", checked.getvalue())
    assert [path.name for path in (data_dir / "backups").iterdir()] == [archive.name], "nothing unfinished is left"


def test_pg_dump_ends_with_a_backup_that_is_killed_and_no_command_line_has_the_password(
    new_system: Callable[..., System], data_dir: Path, eventually: Eventually
) -> None:
    source, folder = new_system(migrated=True), data_dir / "backups"
    url = source.stores.database_url
    environment = {**os.environ, **source.environment, "PATH": str(PROGRAMS)}
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE conversations_todo")  # pg_dump waits for it
        with subprocess.Popen(
            [sys.executable, "manage.py", "backup", str(folder)],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.DEVNULL,
        ) as backup:
            waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pg_dump' AND wait_event_type = 'Lock'"
            with psycopg.connect(url, autocommit=True) as other:
                eventually(lambda: other.execute(f"{waits} AND datname = current_database()".encode()).fetchone())
            [dump] = psutil.Process(backup.pid).children()
            assert dump.name() == "pg_dump"
            assert not any(str(urlsplit(url).password) in word for word in dump.cmdline())
            backup.kill()
        eventually(lambda: not lives(dump))
    [left] = folder.iterdir()
    assert list(FolderPlace(folder).remove_leftovers()) == [f"Deleted {left}, which a backup that was killed had left."]
    assert list(folder.iterdir()) == []
