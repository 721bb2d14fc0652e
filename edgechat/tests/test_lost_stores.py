"""Stores that are killed or stopped during running replies and a hundred simultaneous requests, and come back."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import call_command
from django.db import connection
from pymongo import MongoClient

from conftest import Api, Person, assert_error
from conversations.tests.test_faults import begin, ledger_attempts, statuses
from edgechat.local.server import Server
from edgechat.local.stack import Stack, start_stack
from edgechat.local.web import WebServer
from edgechat.stores import mongo
from edgechat.tests.own_stores import using
from edgechat.tests.test_silent_stores import AWAY, at, many
from usage.models import Process
from usage.processes import LEASE_SECONDS

pytestmark = pytest.mark.faults
Eventually = Callable[..., Any]


@dataclass
class Site:
    """Two web processes on their own servers."""

    stack: Stack
    webs: list[WebServer]

    def server(self, name: str) -> Server:
        found: Server = getattr(self.stack, name)
        return found


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="edgechat-test-"))
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        # The servers must not lose acknowledged writes when they are killed.
        stack = start_stack(folder, durable=True, scripted=True, parts=["postgres", "mongo", "valkey"])
        cleanup.callback(stack.kill)
        cleanup.enter_context(using(stack.env))
        call_command("migrate", verbosity=0)
        with mongo_client(stack.env["MONGODB_URL"]) as client, pytest.MonkeyPatch.context() as patched:
            patched.setattr(mongo, "_client", client)
            call_command("ensure_transcript_indexes", verbosity=0)
        webs = [
            WebServer(
                {**stack.env, "STORE_TIMEOUT_SECONDS": "4.5"},
                data_dir=folder,
                workers=1,
                ready_path="/api/v1/health",
                name=f"web-{number}",
            )
            for number in range(2)
        ]
        for web in webs:
            cleanup.callback(web.kill)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(WebServer.start, webs))
        yield Site(stack, webs)


@contextmanager
def mongo_client(url: str) -> Iterator[MongoClient[Any]]:
    client: MongoClient[Any] = MongoClient(url)
    yield client
    client.close()


@contextmanager
def killed(server: Server) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Like a machine that hangs: connections stay open, and new ones are accepted, but no answer comes."""
    parent = psutil.Process(server.pid)
    processes = [parent, *parent.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in reversed(processes):
            process.resume()


def answered_statuses(api: Api, path: str) -> set[int]:
    answers = many(api, path)
    for refused in answers:
        if refused.status_code == 503:
            assert_error(refused, *AWAY)
            assert refused.headers["Retry-After"] == "1"
    return {answer.status_code for answer in answers}


# Requests while a store is down: those that need it get a 503, the others an answer.
PATHS = {
    "postgres": {"auth/me": {503}, "chat/conversations": {503}},
    "mongo": {"chat/conversations": {503}, "auth/me": {200}},
    "valkey": {"auth/me": {200}, "chat/conversations": {200}, "usage/me": {200}},
}


@pytest.mark.parametrize(
    ("name", "trouble"),
    [("postgres", killed), ("postgres", stopped), ("mongo", stopped), ("valkey", stopped)],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_with_a_store_gone_all_are_answered_and_replies_end_once(
    site: Site, register: Callable[..., Person], eventually: Eventually, name: str, trouble: Any
) -> None:
    alice = register("alice", site.webs[0].url)
    # One reply ends while the store is down, the other afterwards.
    running = {}
    for web, words in zip(site.webs, (30, 120), strict=True):
        conversation = alice.new_conversation()
        running[conversation] = begin(alice, web, conversation, f"[[chunks={words}]][[gap=0.1]]" + "word " * words)
    living = set(Process.objects.filter(dead=False).values_list("name", flat=True))
    connection.close()
    with at(site.webs[1], alice) as api:
        api.timeout = 60
        with trouble(site.server(name)):
            gone_at = time.monotonic()
            for path, allowed in PATHS[name].items():
                # A slow machine has refused some of the first hundred requests that need no lost store.
                eventually(lambda: answered_statuses(api, path) == allowed)  # noqa: B023
            if name == "postgres":  # as long as a process takes to be declared dead
                eventually(lambda: time.monotonic() > gone_at + LEASE_SECONDS + 2)
        back_at = time.monotonic()
        for path in PATHS[name]:
            eventually(lambda: {answer.status_code for answer in many(api, path)} == {200})  # noqa: B023
        print(f"{name} {trouble.__name__}: all are answered {time.monotonic() - back_at:.1f} s after it was back")  # noqa: T201
    eventually(lambda: statuses(alice, running) == ["complete", "complete"])
    for conversation, mid in running.items():
        eventually(lambda: [entry.settled_at is not None for entry in ledger_attempts(mid)] == [True])  # noqa: B023
        assert alice.messages(conversation)["messages"][1]["content"].count("word") in (30, 120)
        assert alice.say(conversation, "and on").status_code == 200
    assert living <= set(Process.objects.filter(dead=False).values_list("name", flat=True))
