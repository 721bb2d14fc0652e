"""A client that disconnects before an answer has started ends the calls to the model."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from accounts.open_calls.registry import HungUp, OpenCall, open_call
from conftest import Person
from conversations.tests.test_attachments import picture
from edgechat.tests.raw_client import RawClient
from usage.models import LedgerEntry, RequestRecord

EVENT_STREAM = {"Accept": "text/event-stream"}
ModelCalls = Callable[[str], list[dict[str, Any]]]
Eventually = Callable[..., Any]

# For each call: the request's body, with the prompt by which the model's call is found.
BODIES: dict[str, Callable[[str], dict[str, Any]]] = {
    "complete": lambda prompt: {"json": {"prompt": prompt}},
    "summarize": lambda prompt: {"json": {"text": prompt}},
    "vision": lambda prompt: {"files": [("image", ("p.png", picture(60, 40)))], "data": {"prompt": prompt}},
}


def begin(client: RawClient, person: Person, call: str, prompt: str, headers: dict[str, str]) -> None:
    """Send a complete request without waiting for the response."""
    request = httpx2.Request("POST", person.origin, **BODIES[call](prompt))
    body = request.read()
    more: dict[str, Any] = {"Content-Type": request.headers["Content-Type"], "Content-Length": len(body), **headers}
    client.begin("POST", f"ai/{call}", body, **more)


def counted_statuses(person: Person) -> list[int]:
    return list(
        RequestRecord.objects.filter(user_id=person.id, route__contains="/ai/").values_list("status", flat=True)
    )


@pytest.mark.parametrize("headers", [EVENT_STREAM, {}], ids=["events", "json"])
@pytest.mark.parametrize("call", list(BODIES))
def test_a_client_that_leaves_while_the_model_is_silent_ends_the_call(
    alice: Person, model_calls: ModelCalls, eventually: Eventually, call: str, headers: dict[str, str]
) -> None:
    marker = f"left-{alice.id}"
    with RawClient(alice.origin, token=alice.tokens["access_token"]) as client:
        begin(client, alice, call, f"[[delay=300]]{marker}", headers)
        eventually(lambda: model_calls(marker))
    eventually(lambda: model_calls(marker)[0]["outcome"] == "client_gone")
    eventually(lambda: LedgerEntry.objects.filter(user_id=alice.id, settled_at__isnull=False).exists())
    assert eventually(lambda: counted_statuses(alice)) == [499]


@pytest.mark.parametrize("headers", [EVENT_STREAM, {}], ids=["events", "json"])
@pytest.mark.parametrize("call", list(BODIES))
def test_a_client_that_leaves_at_once_leaves_no_call_behind(
    alice: Person, model_calls: ModelCalls, eventually: Eventually, call: str, headers: dict[str, str]
) -> None:
    marker = f"gone-{alice.id}"
    with RawClient(alice.origin, token=alice.tokens["access_token"]) as client:
        begin(client, alice, call, f"[[delay=300]]{marker}", headers)
    assert eventually(lambda: counted_statuses(alice)) == [499]
    eventually(lambda: all(each["outcome"] == "client_gone" for each in model_calls(marker)))


@pytest.mark.parametrize("headers", [EVENT_STREAM, {}], ids=["events", "json"])
def test_a_client_that_closes_its_half_counts_as_gone_and_is_told_so(
    alice: Person, model_calls: ModelCalls, eventually: Eventually, headers: dict[str, str]
) -> None:
    marker = f"half-{alice.id}"
    with RawClient(alice.origin, token=alice.tokens["access_token"]) as client:
        begin(client, alice, "complete", f"[[delay=300]]{marker}", headers)
        eventually(lambda: model_calls(marker))
        client.sock.shutdown(socket.SHUT_WR)
        answer = client.answer()
        assert (answer.status, answer.code) == (499, "client_closed_request")
        assert client.is_closed()


class Request:
    """The attributes of a request that `open_call` reads."""

    class _State:
        authenticated_at = float("inf")
        began_at = 0.0

    def __init__(self, connection: socket.socket) -> None:
        self.user = self.auth = self._request = self
        self.pk: Any = -1
        self.edgechat = self._State()
        self.META = {"gunicorn.socket": connection}
        self.method, self.resolver_match, self.route = "POST", self, "api/v1/ai/complete"


@pytest.mark.parametrize("leave", [socket.socket.close, lambda sock: sock.shutdown(socket.SHUT_WR)])
def test_nothing_is_begun_for_who_has_left_meanwhile(leave: Callable[[socket.socket], object]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        request: Any = Request(ours)
        with open_call(request, reply=True) as call:
            call.raise_if_over()
        leave(theirs)
        with pytest.raises(HungUp):
            open_call(request, reply=True)


def test_what_is_done_for_a_call_that_is_over_ends_at_once() -> None:
    ended: list[str] = []
    request: Any = Request(socket.socket())
    with OpenCall(user_id=-1, session_id=request.pk, since=0.0) as call:
        call.on_end(lambda: ended.append("before"))
        assert ended == []
        call.end(HungUp())
        call.on_end(lambda: ended.append("after"))
    assert ended == ["before", "after"]
