"""Stores that cannot write, because their disk is full or they are replicas: they lose nothing, and are used again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from conftest import Person, assert_error, new_address
from conversations.tests.test_faults import begin, statuses
from edgechat.local.server import Server
from edgechat.local.stack import start_mongo
from edgechat.local.valkey import Valkey
from edgechat.local.web import WebServer
from edgechat.tests.own_stores import OwnStores
from edgechat.tests.test_silent_stores import AWAY

pytestmark = pytest.mark.faults
StartWeb = Callable[..., WebServer]
Register = Callable[..., Person]
Eventually = Callable[..., Any]

# What PostgreSQL answers when its disk is full, its file system was mounted read-only, its disk fails, a file may not
# grow, and a file is damaged.
CANNOT_WRITE = ("53100", "42501", "58030", "XX000", "XX001")


@contextmanager
def full(server: Server) -> Iterator[None]:
    """No file of the server may grow, which it meets as it meets a full disk."""
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    for process in processes:
        process.rlimit(psutil.RLIMIT_FSIZE, (4096, psutil.RLIM_INFINITY))
    yield
    for process in processes:
        if process.is_running():
            process.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))


def test_a_mongodb_without_space_loses_nothing(
    start_web: StartWeb, register: Register, data_dir: Path, eventually: Eventually
) -> None:
    mongo = start_mongo(data_dir)
    try:
        web = start_web(workers=1, MONGODB_URL=mongo.url, STORE_TIMEOUT_SECONDS="4.5")
        alice = register("alice", web.url)
        conversation, other = (alice.new_conversation(title="Titled") for _ in range(2))
        kept = alice.say(other, "kept").json()
        mid = begin(alice, web, conversation, "[[chunks=20]][[gap=0.1]]" + "word " * 20)
        with full(mongo):
            # The server may have room in files that exist.
            refused = eventually(lambda: (answer := alice.say(other, "x" * 30_000)).status_code != 200 and answer)
            assert (refused.status_code, refused.json()["code"]) == AWAY[:2]
            assert alice.get("auth/me").status_code == 200
            assert alice.post("ai/complete", json={"prompt": "hello"}).status_code == 200
            eventually(lambda: "final_write_deferred" in web.log_text())
            mongo.kill()  # MongoDB ends itself; its stand-in only refuses everything from now on
        mongo.start()
        eventually(lambda: statuses(alice, {conversation: mid}) == ["complete"])
        assert alice.messages(other)["messages"][:2] == [kept["user_message"], kept["model_message"]]
        assert alice.messages(conversation)["messages"][1]["content"].count("word") == 20
        eventually(lambda: alice.say(other, "and on").status_code == 200)
    finally:
        mongo.kill()


def test_what_postgresql_cannot_do_is_503_and_what_the_code_cannot_do_is_500(
    own_stores: OwnStores, start_web: StartWeb, register: Register
) -> None:
    """A trigger raises the errors of a full disk, because filling one would take the disk from all tests."""
    web = start_web(workers=1, **own_stores.env)
    alice = register("alice", web.url)
    conversation = alice.new_conversation(title="Titled")
    with psycopg.connect(own_stores.database_url, autocommit=True) as database:
        for code in CANNOT_WRITE:
            database.execute(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$BEGIN RAISE 'could not extend file' USING ERRCODE = '{code}'; END$$"
            )
            for table in ("usage_ledgerentry", "conversations_todo", "accounts_session"):
                database.execute(
                    f"CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON {table} EXECUTE FUNCTION refuse()".encode()
                )
            assert_error(alice.say(conversation, "hello"), *AWAY)
            assert_error(alice.post("ai/complete", json={"prompt": "hello"}), *AWAY)
            assert_error(alice.post("todos", json={"title": "Buy bread"}), *AWAY)
            login = {"email": alice.email, "password": alice.password}
            assert_error(alice.post("auth/login", json=login, headers=new_address()), *AWAY)
            assert alice.get("auth/me").status_code == 200
            assert alice.get(f"chat/conversations/{conversation}").status_code == 200
            database.execute("DROP FUNCTION refuse CASCADE")
            assert alice.say(conversation, code).status_code == 200
        # The code expects another table than there is.
        database.execute("ALTER TABLE conversations_todo RENAME TO todo_of_another_version")
        answer = alice.get("todos")
        assert_error(answer, 500, "internal_error", "Internal server error")
        assert answer.headers["X-Request-ID"] in web.log_text()
        assert "todo_of_another_version" not in answer.text
        assert alice.get("auth/me").status_code == 200
        database.execute("ALTER TABLE todo_of_another_version RENAME TO conversations_todo")
        assert alice.get("todos").json() == []
    sent = [each["content"] for each in alice.messages(conversation)["messages"] if each["role"] == "user"]
    assert [content for content in sent if content != "hello"] == list(CANNOT_WRITE)


def test_a_redis_that_accepts_no_writes_stops_nobody(
    own_valkey: Valkey, own_stores: OwnStores, start_web: StartWeb, register: Register, eventually: Eventually
) -> None:
    web = start_web(workers=2, **own_stores.env)
    alice = register("alice", web.url)
    conversation = alice.new_conversation(title="Titled")
    with redis.Redis.from_url(own_valkey.url) as client:
        client.replicaof("127.0.0.1", 1)  # a replica whose primary is gone; it refuses writes
        for text in ("one", "two"):
            assert alice.say(conversation, text).json()["model_message"]["content"] == f"Echo: {text}"
        mid = begin(alice, web, conversation, "[[chunks=10]][[gap=0.1]]" + "word " * 10)
        eventually(lambda: statuses(alice, {conversation: mid}) == ["complete"])
        assert alice.get("auth/me").status_code == 200
        assert "rate_limit_open" in web.log_text()
        client.replicaof("NO", "ONE")
    assert alice.say(conversation, "three").json()["model_message"]["content"] == "Echo: three"
    assert [each["seq"] for each in alice.messages(conversation)["messages"]] == list(range(1, 9))
