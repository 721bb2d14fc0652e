"""manage.py doctor, as an operator runs it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from edgechat.local.valkey import Valkey
from edgechat.local.web import WebServer
from edgechat.management.diagnosis import Check, Finding, State, address, diagnose, reason, without_secrets
from edgechat.management.store_checks import TRANSCRIPT_INDEXES
from edgechat.stores.mongo import database
from edgechat.tests.own_stores import OwnStores, new_stores
from usage.models import Process
from usage.process_reports import read_report

PROJECT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("shared_servers")


def _doctor(*options: str, **env: str) -> tuple[int, dict[str, tuple[str, str]], str]:
    """The exit code, the table's rows as {check: (state, text)}, and all output."""
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", *options],
        check=False,
        cwd=PROJECT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    rows = re.findall(r"^(.{26})(ok|warning|fault) +(.*)$", done.stdout, re.MULTILINE)
    return done.returncode, {name.strip(): (state, text) for name, state, text in rows}, done.stdout + done.stderr


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never sends anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=32) as server:
        yield server.getsockname()[1]


def test_all_is_well_with_a_web_process_that_serves(
    own_stores: OwnStores, start_web: Callable[..., WebServer], eventually: Callable[..., Any]
) -> None:
    start_web(workers=1, **own_stores.env)
    eventually(lambda: [each for each in Process.objects.all() if read_report(each.name)])
    code, rows, output = _doctor(**own_stores.env)
    # Other tests have connections to the same server, and files on the same disk.
    shared = {"PostgreSQL connections", "Disk"}
    assert (code, {state for name, (state, _) in rows.items() if name not in shared}) == (0, {"ok"}), output
    assert list(rows) == [
        "Environment",
        "JWT_SECRET",
        "GEMINI_API_KEY",
        "FIRST_SUPERUSER_PASSWORD",
        "Checks",
        "PostgreSQL",
        "PostgreSQL migrations",
        "PostgreSQL indexes",
        "PostgreSQL connections",
        "MongoDB",
        "MongoDB indexes",
        "Redis",
        "Redis memory",
        "Redis eviction",
        "Model",
        "Model call",
        "Model system instruction",
        "Model streaming",
        "Model counting",
        "E-mail",
        "Background tasks",
        "Backlogs",
        "Clock",
        "Disk",
    ]
    assert rows["Environment"] == ("ok", "development")
    assert rows["FIRST_SUPERUSER_PASSWORD"] == ("ok", "not set")
    assert rows["Model"] == ("ok", f"local-scripted stands in for {settings.GEMINI_MODEL}")
    assert rows["Model call"][1].startswith("local-scripted answered in ")
    # Pieces that arrive together are one.
    assert rows["Model streaming"][1] in ("pieces of text: 1", "pieces of text: 2")
    counted = re.search(
        r"^the answer used (\d+) tokens of input and (\d+) of output; countTokens: (\d+) ", rows["Model counting"][1]
    )
    assert counted is not None
    assert 0 < int(counted[3]) < int(counted[1])
    warnings = [state for state, _ in rows.values()].count("warning")
    assert output.splitlines()[-1] == f"No fault, warnings: {warnings}."


def test_stores_that_are_not_there_are_faults_and_no_secret_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, rows, output = _doctor(
        "--no-model",
        DATABASE_URL=f"postgresql://pgname:pg-secret-1@127.0.0.1:{port}/edgechat",
        MONGODB_URL=f"mongodb://mgname:mg-secret-1@127.0.0.1:{port}",
        REDIS_URL=f"redis://:rd-secret-1@127.0.0.1:{port}/0",
        GEMINI_BASE_URL=f"http://127.0.0.1:{port}",
        GEMINI_API_KEY="gemini-secret-1",
        JWT_SECRET="jwt-secret-1",
        FIRST_SUPERUSER_EMAIL="root@example.com",
        FIRST_SUPERUSER_PASSWORD="root-secret-1",
    )
    assert code == 1
    assert {name for name, (state, _) in rows.items() if state == "fault"} == {
        "PostgreSQL",
        "MongoDB",
        "Redis",
        "Model",
    }
    assert "DATABASE_URL" in rows["PostgreSQL"][1]
    assert "MONGODB_URL" in rows["MongoDB"][1]
    assert "REDIS_URL" in rows["Redis"][1]
    assert "GEMINI_BASE_URL" in rows["Model"][1]
    assert rows["FIRST_SUPERUSER_PASSWORD"] == ("ok", "set")
    assert {name for name, (state, _) in rows.items() if state == "warning"} == {
        "Background tasks",
        "Backlogs",
        "Clock",
    }
    assert "CommandError: Faults: 4, warnings: 3." in output
    assert "secret-1" not in output


def test_stores_that_never_answer_are_faults_and_so_is_no_model(silent_port: int) -> None:
    code, rows, output = _doctor(
        DATABASE_URL=f"postgresql://postgres@127.0.0.1:{silent_port}/edgechat",
        MONGODB_URL=f"mongodb://127.0.0.1:{silent_port}",
        REDIS_URL=f"redis://127.0.0.1:{silent_port}/0",
        GEMINI_API_KEY="",
        GEMINI_BASE_URL="",
    )
    assert code == 1, output
    assert {name for name, (state, _) in rows.items() if state == "fault"} == {
        "PostgreSQL",
        "MongoDB",
        "Redis",
        "Model",
    }
    assert rows["Model"] == ("fault", "none is set up: set GEMINI_API_KEY, or GEMINI_BASE_URL")
    assert "Model call" not in rows


def test_empty_databases_are_faults_with_the_command_that_helps() -> None:
    with new_stores(migrated=False) as empty:
        code, rows, _ = _doctor("--no-model", **empty.env)
    assert code == 1
    assert rows["PostgreSQL migrations"][0] == "fault"
    assert "`manage.py migrate`" in rows["PostgreSQL migrations"][1]
    assert rows["MongoDB indexes"][0] == "fault"
    assert rows["MongoDB indexes"][1].endswith("run `manage.py ensure_transcript_indexes`")


def test_in_production_the_model_must_exist_and_django_checks_the_deployment() -> None:
    code, rows, output = _doctor("--no-model", ENVIRONMENT="production", JWT_SECRET="j" * 32, ALLOWED_HOSTS="*")
    assert code == 1
    assert rows["Model"] == (
        "fault",
        f"{settings.GEMINI_MODEL} is not among the 1 models: set GEMINI_MODEL to one of them (local-scripted)",
    )
    assert rows["Check edgechat.W001"][0] == "warning"
    assert rows["MongoDB"][0] == "warning"
    assert rows["E-mail"] == ("warning", "not sent: set EMAIL_URL to your mail server")
    assert "Disk" in rows
    assert "j" * 32 not in output


def test_redis_that_evicts_is_a_warning_and_no_model_leaves_out_the_call(
    own_valkey: Valkey, own_stores: OwnStores
) -> None:
    with redis.Redis.from_url(own_valkey.url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    code, rows, output = _doctor("--no-model", **own_stores.env)
    assert code == 0, output
    assert "Model" in rows
    assert "Model call" not in rows
    assert rows["Redis eviction"] == (
        "warning",
        "allkeys-lru loses uncollected request counts when memory runs out: set maxmemory-policy to noeviction",
    )
    assert rows["Redis memory"][1].endswith("of 100.0 MiB used")


def test_a_check_that_hangs_is_given_up_and_one_that_raises_is_told() -> None:
    never = threading.Event()

    def hang() -> list[Finding]:
        never.wait()
        return []

    def fail() -> list[Finding]:
        raise ValueError("no such thing\nand more")

    try:
        found = list(diagnose([Check("hangs", hang, 0.05, "help it"), Check("fails", fail, 30, "mend it")]))
    finally:
        never.set()
    assert found == [
        Finding("hangs", State.FAULT, "no answer within 0.05 s; help it"),
        Finding("fails", State.FAULT, "ValueError: no such thing; mend it"),
    ]


def test_the_indexes_that_are_looked_for_are_those_that_are_made(own_stores: OwnStores) -> None:
    made = {name: set(database()[name].index_information()) - {"_id_"} for name in TRANSCRIPT_INDEXES}
    assert made == dict(TRANSCRIPT_INDEXES)
    assert {
        name for name in database().list_collection_names() if len(database()[name].index_information()) > 1
    } == set(TRANSCRIPT_INDEXES)


def test_secrets_are_masked_wherever_they_stand() -> None:
    assert (
        without_secrets(f"key {settings.JWT_SECRET} of postgresql://me:p@ss@host/db")
        == "key *** of postgresql://***@host/db"
    )
    assert reason(ValueError("redis://:word@host refused")) == "ValueError: redis://***@host refused"
    assert reason(ValueError()) == "ValueError"
    assert address("mongodb+srv://me:p@ss@one,two/db?ssl=true") == "one,two/db"
    assert address("redis://host:6379/0") == "host:6379/0"


def test_as_json_it_is_one_object_with_the_same_exit_code() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    mail = f"smtp://sender:mail-secret-1@127.0.0.1:{closed}"
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json", "--no-model"],
        check=False,
        cwd=PROJECT,
        env={**os.environ, "EMAIL_URL": mail},
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = json.loads(done.stdout)
    rows = {each["check"]: each for each in found["findings"]}
    assert (done.returncode, found["state"], found["faults"]) == (1, "fault", 1)
    assert rows["E-mail"]["state"] == "fault"
    assert "EMAIL_URL" in rows["E-mail"]["text"]
    assert rows["PostgreSQL migrations"]["state"] == "ok"
    assert "mail-secret-1" not in done.stdout + done.stderr
