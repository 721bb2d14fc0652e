"""The cost of the largest responses of one user. The figures are printed by `make faults`; only the documented limits
are asserted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import psutil
import pytest

from conftest import Person, full_size
from conversations.models import Todo
from conversations.tests.stored_messages import store_messages
from edgechat.local.web import WebServer

pytestmark = pytest.mark.faults

MB = 1_000_000


def peak(process: psutil.Process) -> float:
    """The peak memory of a process so far, in MB."""
    with open(f"/proc/{process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / MB


def seconds(call: Callable[[], Any]) -> float:
    begun = time.monotonic()
    assert call().status_code == 200
    return time.monotonic() - begun


def test_the_largest_answers_and_what_they_take(
    start_web: Callable[..., WebServer], register: Callable[..., Person]
) -> None:
    """Messages with 50 earlier versions of 72 kB each, as before the limit: 3.6 MB for each message.

    Of each kind there are more in `make faults`.
    """
    count = full_size(20, 4)
    web = start_web(workers=1)
    alice = register("alice", web.url)
    worker = psutil.Process(web.pids[0])
    full, bounded, plain, short = (alice.new_conversation(title="Titled") for _ in range(4))
    store_messages(alice, full, ["x" * 20_000] * count, variants=["v" * 72_000] * 50)
    store_messages(alice, bounded, ["x" * 20_000] * count, variants=["v" * 72_000] * 3)
    store_messages(alice, plain, ["x" * 20_000] * count)
    store_messages(alice, short, ["x"] * 100)
    for _ in range(full_size(60, 45)):
        alice.new_conversation(title="\x01" * 200, system_instruction="\x01" * 8000)
    todo = {"owner_id": alice.id, "title": "x" * 255, "description": "x" * 1000}
    Todo.objects.bulk_create([Todo(**todo) for _ in range(full_size(5000, 2000))], batch_size=1000)
    assert alice.messages(short)["has_more"] is True
    before = peak(worker)
    path = f"chat/conversations/{full}"
    asked: dict[str, tuple[str, dict[str, str]]] = {
        "a page of 100 messages": (f"{path}/messages", {"limit": "100"}),
        "the latest 50 messages": (f"{path}/messages", {"latest": "true"}),
        "one message": (f"{path}/messages/{full}:00000002", {}),
        "100 conversations": ("chat/conversations", {"limit": "100"}),
        "100 changes": ("chat/changes", {"limit": "100"}),
        "a search": ("chat/search", {"q": "x", "limit": "100"}),
        "todos": ("todos", {}),
        "an export (streamed)": (f"{path}/export", {}),
    }
    for name, (url, query) in asked.items():
        begun = time.monotonic()
        with alice.stream("GET", url, params=query, timeout=300) as answer:
            assert answer.status_code == 200
            size = sum(len(piece) for piece in answer.iter_bytes())
        print(f"{name}: {size:,} bytes, {time.monotonic() - begun:.2f} s; peak of the worker {peak(worker):.0f} MB")  # noqa: T201
        assert "export" in name or size < 2 * MB
    conversations = {
        "that conversation": full,
        "one with as many variants as are kept now": bounded,
        "one with the same texts without variants": plain,
        "one with short texts": short,
    }
    for name, conversation in conversations.items():
        took = median(seconds(lambda: alice.say(conversation, "[[say=ok]]hello")) for _ in range(full_size(5, 1)))  # noqa: B023
        print(f"a send in {name}: {took * 1000:.0f} ms")  # noqa: T201
    print(f"memory of the worker: {before:.0f} MB before, {peak(worker):.0f} MB at most")  # noqa: T201
