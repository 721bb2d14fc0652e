"""Invalid entries in Redis' streams stop neither notices nor the following of replies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conftest import Person
from conversations.tests.events import EVENT_STREAM, read_events
from edgechat.http import notices
from edgechat.local.web import WebServer
from edgechat.stores.redis import redis_client

Entry = dict[str, Any]
NOTICES: list[Entry] = [
    {"of": "another version"},
    {"kind": "ended", "digests": "no JSON", "from": "x"},
    {"kind": "ended", "digests": "[[1], {}]", "from": "x"},
    {"kind": "ended", "digests": "5", "from": "x"},
    {"kind": "stop", "digests": "null", "from": "x"},
    {"kind": "ended", "digests": "[" * 100_000, "from": "x"},
    {"kind": b"\xff", "digests": "[]", "from": b"\xff"},
]
PIECES: list[Entry] = [
    {"a": "1"},
    {"a": "x", "e": "1"},
    {"a": "1", "o": "-3", "t": "no"},
    {"a": 1, "o": 0, "t": b"\xff"},
]


@pytest.mark.faults
def test_entries_that_nobody_understands_are_passed_over(
    alice: Person, start_web: Callable[..., WebServer], eventually: Callable[..., Any]
) -> None:
    web = start_web(workers=1)
    redis: Any = redis_client()
    conversation = alice.new_conversation(title="Titled")
    path = f"chat/conversations/{conversation}/messages"
    said = "word " * 600
    key = f"edgechat:reply:{notices.SLOT}:{conversation}:00000002"
    with alice.stream(
        "POST", path, headers=EVENT_STREAM, json={"content": f"[[chunks=600]][[gap=0.2]]{said}"}
    ) as sending:
        sent = read_events(sending.iter_lines())
        eventually(lambda: redis.exists(key))
        with alice.signed_in(alice.tokens["access_token"]) as api:
            url = f"{web.url}/api/v1/{path}/{conversation}:00000002/stream"
            with api.stream("GET", url, headers=EVENT_STREAM) as following:
                told = read_events(following.iter_lines())
                next(each for each in told if each.get("event") == "delta")
                ids = [redis.xadd(notices.KEY, entry).decode() for entry in NOTICES]
                for piece in PIECES:
                    redis.xadd(key, piece)
                for _ in range(3):  # what comes after them
                    next(each for each in told if each.get("event") == "delta")
                stopped = alice.post(f"{path}/{conversation}:00000002/stop").json()
                last = [each for each in told if "event" in each][-1]
        assert [each["event"] for each in sent if "event" in each][-1] == "done"
    assert (last["event"], last["data"], last["data"]["status"]) == ("done", stopped, "stopped")
    assert f"Echo: {said}".startswith(last["data"]["content"])
    eventually(lambda: ids[-1] in web.log_text())
    eventually(lambda: web.log_text().count("piece_not_understood") >= 3)
    assert "thread_failed" not in web.log_text()
