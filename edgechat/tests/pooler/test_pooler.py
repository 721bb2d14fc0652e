"""PostgreSQL behind PgBouncer, which gives each transaction whichever connection is free."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from conftest import Api, Person, at_once, new_address
from conversations.tests.events import EVENT_STREAM, read_events
from edgechat.local.pooler import PgBouncer
from edgechat.local.web import WebServer
from edgechat.tests.own_stores import new_stores

PROJECT = Path(__file__).parents[3]
StartWeb = Callable[..., WebServer]
LONG = "[[chunks=40]][[gap=0.2]]" + "word " * 40


@pytest.fixture
def pooler(shared_servers: None, data_dir: Path) -> Iterator[PgBouncer]:
    """With two connections to PostgreSQL, which is less than one web process has to the pooler."""
    server = PgBouncer(os.environ["DATABASE_URL"], data_dir, connections=2)
    server.start()
    yield server
    server.kill()


def test_without_its_setting_every_start_says_what_to_set(
    pooler: PgBouncer, start_web: StartWeb, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    told = "A pooler in front of PostgreSQL refuses the options of a session: set DATABASE_POOLER=true"
    for command in (["doctor", "--no-model"], ["migrate"]):
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=PROJECT,
            env={**os.environ, "DATABASE_URL": pooler.url},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 1
        assert told in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    web = start_web(DATABASE_URL=pooler.url)
    eventually(lambda: told in web.log_text())
    with Api(web.url) as api:
        assert api.get("health/db").status_code == 503
    assert "reconnection attempt" not in web.log_text()


@pytest.fixture
def webs(pooler: PgBouncer, start_web: StartWeb) -> list[WebServer]:
    return [start_web(workers=2, DATABASE_URL=pooler.url, DATABASE_POOLER="true") for _ in range(2)]


def everything_a_user_does(person: Person) -> None:
    conversation = person.new_conversation(title="Bread")
    for number in range(3):
        assert person.say(conversation, f"Hello {number}").status_code == 200
    assert person.post("ai/complete", json={"prompt": "hello"}).status_code == 200
    tokens = person.post("auth/refresh", json={"refresh_token": person.tokens["refresh_token"]})
    assert tokens.status_code == 200
    person.headers["Authorization"] = f"Bearer {tokens.json()['access_token']}"
    assert person.post("todos", json={"title": "Buy bread"}).status_code == 200
    for path in ("users/me", "auth/sessions", "usage/me", "todos", "chat/conversations", "users/me/export"):
        assert person.get(path).status_code == 200, path
    assert person.delete("users/me").status_code == 204


def test_many_users_at_once_share_two_connections(
    webs: list[WebServer], register: Callable[..., Person], pooler: PgBouncer
) -> None:
    people = [register(f"user{number}", webs[number % 2].url) for number in range(12)]
    at_once(len(people), lambda number: everything_a_user_does(people[number]))
    for web in webs:
        log = web.log_text()
        assert "prepared statement" not in log
        assert "Traceback" not in log
    for _ in range(4):  # whichever connection it is
        with psycopg.connect(pooler.url, autocommit=True, prepare_threshold=None) as connection:
            for left in ("pg_prepared_statements", "pg_locks WHERE locktype = 'advisory'"):
                assert connection.execute(f"SELECT count(*) FROM {left}".encode()).fetchone() == (0,)


def test_a_reply_of_a_killed_process_is_taken_over(
    webs: list[WebServer], register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    alice = register("alice", webs[0].url)
    conversation = alice.new_conversation()
    url = f"chat/conversations/{conversation}/messages"
    with alice.stream("POST", url, json={"content": LONG}, headers=EVENT_STREAM) as answer:
        next(told for told in read_events(answer.iter_lines()) if told.get("event") == "delta")
        webs[0].kill()
    with Api(webs[1].url, token=alice.tokens["access_token"]) as elsewhere:
        eventually(lambda: elsewhere.get(url, headers=new_address()).json()["messages"][1]["status"] == "complete")


def test_a_pooler_that_is_gone_is_a_503_until_it_is_back(
    webs: list[WebServer], register: Callable[..., Person], pooler: PgBouncer, eventually: Callable[..., Any]
) -> None:
    alice = register("alice", webs[0].url)
    pooler.kill()
    assert alice.get("users/me").status_code == 503
    pooler.start()
    eventually(lambda: alice.get("users/me").status_code == 200)


def test_a_statement_that_waits_for_a_lock_is_cancelled_through_it(
    pooler: PgBouncer, start_web: StartWeb, register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    web = start_web(workers=1, DATABASE_URL=pooler.url, DATABASE_POOLER="true", STORE_TIMEOUT_SECONDS="4.5")
    alice = register("alice", web.url)
    alice.timeout = 60
    direct = os.environ["DATABASE_URL"]
    with psycopg.connect(direct) as holder, psycopg.connect(direct, autocommit=True) as observer:
        holder.execute("SELECT FROM accounts_user WHERE id = %s FOR NO KEY UPDATE", [alice.id])
        assert alice.patch("users/me", json={"full_name": "Alice"}).status_code == 503
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
        eventually(lambda: observer.execute(blocked, [holder.info.backend_pid]).fetchone() == (0,))
        holder.rollback()
    assert alice.get("users/me").json()["full_name"] != "Alice"


def manage(pooler: PgBouncer, *command: str, **environment: str) -> str:
    """What a management command prints whose PostgreSQL is the pooler."""
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": pooler.url, "DATABASE_POOLER": "true", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["migrate", "--noinput"],
        ["rebuild_usage"],
        ["usage_report"],
        ["prune_usage"],
        ["prune_sessions"],
        ["prune_audit"],
        ["prune_attachments"],
        ["status"],
        ["doctor", "--no-model"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_works_through_it(pooler: PgBouncer, command: list[str]) -> None:
    manage(pooler, *command)


def test_a_backup_and_its_restoration_work_through_it(pooler: PgBouncer, alice: Person, data_dir: Path) -> None:
    assert alice.say(alice.new_conversation(), "Hello").status_code == 200
    (data_dir / "archives").mkdir()
    manage(pooler, "backup", str(data_dir / "archives"))
    [archive] = (data_dir / "archives").iterdir()
    with new_stores(migrated=False) as own:
        elsewhere = {
            **own.env,
            "DATABASE_URL": urlsplit(pooler.url)._replace(path=f"/{own.name}").geturl(),
            "DATA_DIR": str(data_dir / "restored"),
        }
        manage(pooler, "restore", str(archive), **elsewhere)
        assert (alice.email,) in own.rows("SELECT email FROM accounts_user")
