"""manage.py status and doctor, with a web process and stores of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db.models.functions import Now

from conftest import Person
from edgechat.local.web import WebServer
from edgechat.tests.own_stores import OwnStores
from usage.models import Process

PROJECT = Path(__file__).parents[2]


def test_processes_with_their_replies_and_tasks_are_shown(
    own_stores: OwnStores, start_web: Callable[..., WebServer], eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env=os.environ | own_stores.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout

    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("status", "--json"))
        return found

    def busy() -> dict[str, Any] | None:
        found = status()
        shown = any(each["report"] and each["replies"] == 1 for each in found["processes"])
        return found if shown else None

    assert status()["processes"] == []
    web = start_web(**own_stores.env, AI_TIMEOUT_SECONDS="600")
    alice = Person(web.url, "alice")
    conversation = alice.new_conversation()
    url = f"chat/conversations/{conversation}/messages?stream=true"
    with alice.stream("POST", url, json={"content": "[[delay=300]]wait"}) as events:
        next(events.iter_lines())
        found = eventually(busy)
        (process,) = found["processes"]
        assert all(task["is_well"] for task in process["report"]["tasks"])
        assert found["replies_of_lost_processes"] == 0
        assert found["queues"]["accounts"] == found["queues"]["conversations"] == 0
        table = run("status").splitlines()
        assert table[0].split()[:3] == ["Process", "State", "Lease"]
        assert table[1].split()[:2] == [process["name"], "alive"]
        assert "Live processes: 1;" in table[2]
    alice.close()
    rows = {each["check"]: each for each in json.loads(run("doctor", "--json", "--no-model"))["findings"]}
    assert rows["Background tasks"]["text"].endswith("run, in 1 processes")
    assert {rows[name]["state"] for name in ("Background tasks", "Backlogs", "Clock")} == {"ok"}
    # The reply goes on without its reader. Nobody takes it over: there is no other process.
    web.kill()
    eventually(lambda: not Process.objects.filter(alive_until__gt=Now()).exists())
    left = status()
    assert (left["processes"], left["replies_of_lost_processes"]) == ([], 1)
    assert run("status").splitlines()[1] == "Live processes: 0; replies that wait to be taken over: 1."
