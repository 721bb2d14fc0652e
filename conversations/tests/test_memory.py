"""A web process that gets no memory from the system, or is killed for what it has."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import psutil
import pytest

from conftest import Person
from conversations.tests.test_faults import begin, figure, ledger_attempts, statuses
from edgechat.errors import to_api_error
from edgechat.local.web import WebServer

pytestmark = pytest.mark.faults
SENDS = 8


def starve(pid: int) -> None:
    """The process gets not one more page of memory: what it needs beyond what it has fails, or ends it."""
    process = psutil.Process(pid)
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms, psutil.RLIM_INFINITY))


def feed(pid: int) -> None:
    if psutil.pid_exists(pid):
        psutil.Process(pid).rlimit(psutil.RLIMIT_AS, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))


def test_a_process_that_gets_no_memory_loses_nothing(
    start_web: Callable[..., WebServer], register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    web = start_web(workers=1)
    alice = register("alice", web.url)
    conversation, other = (alice.new_conversation(title="Titled") for _ in range(2))
    path = f"{web.url}/api/v1/chat/conversations/{conversation}/messages"

    def send(number: int) -> httpx2.Response | None:
        """None for a connection that was cut."""
        body = {"content": f"{number} " + "x" * 30_000, "client_message_id": str(number)}
        try:
            answer = httpx2.post(path, json=body, headers=alice.headers, timeout=60, trust_env=False)
        except httpx2.TransportError:
            return None
        # gunicorn itself may have no memory for a request. Its answer is no JSON.
        return answer if answer.headers["Content-Type"] == "application/json" else None

    mid = begin(alice, web, other, "[[chunks=40]][[gap=0.1]]" + "word " * 40)
    [pid] = web.pids
    starve(pid)
    answered = [send(number) for number in range(SENDS)]
    feed(pid)
    told = [answer.status_code for answer in answered if answer is not None]
    lives = pid in web.pids
    figure(f"without memory: {Counter(told)}, {SENDS - len(told)} cut; the process {'lives' if lives else 'ended'}")
    assert set(told) <= {200, 409, 503}
    assert all(answer.headers["Retry-After"] for answer in answered if answer and answer.status_code == 503)
    acknowledged = [answer.json()["user_message"] for answer in answered if answer and answer.status_code == 200]
    for number in range(SENDS):
        eventually(lambda: (answer := send(number)) is not None and answer.status_code == 200)  # noqa: B023
    eventually(lambda: statuses(alice, {other: mid}) != ["generating"])
    [told_once] = [each for each in alice.messages(other)["messages"] if each["id"] == mid]
    assert ("Echo: " + "word " * 40).startswith(told_once["content"])
    eventually(lambda: all(each.settled_at for each in ledger_attempts(mid)))
    messages = alice.messages(conversation, limit=100)["messages"]
    assert sorted(each["client_message_id"] for each in messages[::2]) == [str(number) for number in range(SENDS)]
    assert [each["seq"] for each in messages] == list(range(1, 2 * SENDS + 1))
    assert all(each in messages for each in acknowledged)
    assert alice.say(other, "and on").status_code == 200


def caused_by(cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except Exception as error:
            raise ValueError("what the code made of it") from error
    except ValueError as error:
        return error


MISSING = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENOSPC, "No space left on device"),
]
OTHERS = [RuntimeError("something else"), OSError(errno.EACCES, "Permission denied"), ValueError("can't start")]


@pytest.mark.parametrize("error", [*MISSING, *map(caused_by, MISSING)], ids=repr)
def test_a_call_that_gets_no_memory_file_or_space_is_503(error: Exception) -> None:
    told = to_api_error(error)
    assert told is not None
    assert (told.status, told.code, told.headers) == (503, "store_unavailable", {"Retry-After": "1"})


@pytest.mark.parametrize("error", [*OTHERS, *map(caused_by, OTHERS)], ids=repr)
def test_another_fault_of_the_system_is_one_of_the_code(error: Exception) -> None:
    assert to_api_error(error) is None
