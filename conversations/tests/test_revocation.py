"""The end of a session, account, membership or conversation ends its open calls in every process."""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from django.core.management import call_command
from PIL import Image

from accounts.models import Organization, Session, User
from accounts.recovery.emailed_tokens import make_emailed_token
from accounts.tests.organizations import new_organization
from accounts.tests.staff import make_user
from conftest import Api, Person, new_address
from conversations.tests.events import EVENT_STREAM, read_events
from conversations.tests.stored_messages import store_messages
from edgechat.stores.mongo import database
from edgechat.tests.raw_client import RawClient
from edgechat.tests.web_settings import ELSEWHERE, WITHOUT_REDIS
from usage.models import LedgerEntry

# Longer than all calls take to begin and to be ended, on a slow machine too.
LONG = "[[chunks=150]][[gap=1]]" + "word " * 150
ENDED = {"detail": "The session has ended", "code": "token_revoked"}
CONVERSATION = "CONVERSATION"
GONE = {"detail": "Conversation not found", "code": "not_found"}


def figure(text: str) -> None:
    """Print a figure for `make faults`."""
    print(text)  # noqa: T201


@dataclass
class Open:
    """A call in its own thread: its result, and the time of its end."""

    name: str
    streamed: bool
    status: int = 0
    last: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    ended_at: float = 0.0
    begun: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def told(self) -> dict[str, Any]:
        """The error, without its request id."""
        return {name: self.last.get(name) for name in ("detail", "code")}


class OpenCalls:
    """Simultaneous calls of one person to one service."""

    def __init__(self, person: Person, origin: str) -> None:
        self._origin = origin
        self._headers = {"Authorization": person.headers["Authorization"]}
        self.calls: list[Open] = []

    def begin(self, name: str, method: str, path: str, *, stream: bool = False, **request: Any) -> Open:
        call = Open(name, stream)
        headers = {**self._headers, **new_address(), **(EVENT_STREAM if stream else {}), **request.pop("headers", {})}

        def run() -> None:
            with Api(self._origin) as api, api.stream(method, path, headers=headers, **request) as answer:
                call.status = answer.status_code
                if answer.headers["Content-Type"].startswith("text/event-stream"):
                    for told in read_events(answer.iter_lines()):
                        if "event" in told:
                            call.events.append(told["event"])
                            call.last = told["data"]
                            call.begun.set()
                else:
                    answer.read()
                    call.last = answer.json()
            call.ended_at = time.monotonic()

        call.thread = threading.Thread(target=run, daemon=True)
        call.thread.start()
        self.calls.append(call)
        return call

    def wait(self) -> None:
        for call in self.calls:
            assert call.thread is not None
            call.thread.join(120)
            assert not call.thread.is_alive(), f"{call.name} goes on"


def picture() -> dict[str, Any]:
    data = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(data, "PNG")
    return {"image": ("p.png", data.getvalue(), "image/png")}


def open_everything(person: Person, origin: str, marker: str, model_calls: Callable[..., Any]) -> OpenCalls:
    """One open call of each kind; all of them wait for the model."""
    calls = OpenCalls(person, origin)
    content = f"{LONG}{marker}"
    conversations = [person.new_conversation(title="Titled") for _ in range(4)]
    streamed, waiting, regenerated, tasks = (f"chat/conversations/{each}" for each in conversations)
    mid = person.say(conversations[2], "first").json()["model_message"]["id"]
    person.say(conversations[3], "first")
    # The directive is written into a stored message, because in a sent message it would delay that message's own reply.
    slow = {"$set": {"content": f"[[delay=150]]{marker}"}}
    database()["messages"].update_one({"_id": f"{conversations[3]}:00000001"}, slow)
    calls.begin("send, streamed", "POST", f"{streamed}/messages", stream=True, json={"content": content})
    calls.begin("send", "POST", f"{waiting}/messages", json={"content": content})
    calls.begin("regenerate", "POST", f"{regenerated}/messages/{mid}/regenerate", json={"content": content})
    calls.begin("complete, streamed", "POST", "ai/complete", stream=True, json={"prompt": content})
    calls.begin("complete", "POST", "ai/complete", json={"prompt": content + "."})
    calls.begin("vision, streamed", "POST", "ai/vision", stream=True, data={"prompt": content}, files=picture())
    calls.begin("vision", "POST", "ai/vision", data={"prompt": content}, files=picture())
    calls.begin("summarize, streamed", "POST", "ai/summarize", stream=True, json={"text": content})
    calls.begin("summarize", "POST", "ai/summarize", json={"text": content + "."})
    deadline = time.monotonic() + 120
    calls.begin("action items", "POST", f"{tasks}/action-items")
    while len(model_calls(marker)) < 10:
        assert time.monotonic() < deadline, [call.name for call in calls.calls if not call.begun.is_set()]
        time.sleep(0.05)
    follow = f"{streamed}/messages/{conversations[0]}:00000002/stream"
    calls.begin("follow", "GET", follow, stream=True)
    for call in calls.calls:
        if call.streamed:
            assert call.begun.wait(120), call.name
    return calls


@pytest.fixture
def elsewhere(web_with: Callable[..., str]) -> str:
    """A process that holds none of the open calls."""
    return web_with(**ELSEWHERE)


def another_session(person: Person, origin: str) -> Api:
    with Api(origin) as api:
        answer = api.post("auth/login", json={"email": person.email, "password": person.password})
    assert answer.status_code == 200, answer.text
    return Api(origin, token=answer.json()["access_token"])


def log_out(person: Person, origin: str) -> None:
    with Api(origin, token=person.tokens["access_token"]) as api:
        assert api.post("auth/logout").status_code == 200


def log_out_everywhere(person: Person, origin: str) -> None:
    with another_session(person, origin) as api:
        assert api.post("auth/logout-all").status_code == 200


def end_the_session(person: Person, origin: str) -> None:
    session = Session.objects.get(user_id=person.id)
    with another_session(person, origin) as api:
        assert api.delete(f"auth/sessions/{session.pk}").status_code == 204


def reuse_a_refresh_token(person: Person, origin: str) -> None:
    with Api(origin) as api:
        body = {"refresh_token": person.tokens["refresh_token"]}
        newer = api.post("auth/refresh", json=body).json()
        newest = api.post("auth/refresh", json={"refresh_token": newer["refresh_token"]}).json()
        assert "access_token" in newest
        Session.objects.get(user_id=person.id).token_pairs.filter(generation=0).delete()
        Session.objects.get(user_id=person.id).token_pairs.filter(generation=1).delete()
        assert api.post("auth/refresh", json=body).status_code == 401


def change_the_password(person: Person, origin: str) -> None:
    with another_session(person, origin) as api:
        body = {"password": "another password", "current_password": person.password}
        assert api.patch("users/me", json=body).status_code == 200


def reset_the_password(person: Person, origin: str) -> None:
    token = make_emailed_token(User.objects.get(pk=person.id), "reset")
    with Api(origin) as api:
        assert api.post("auth/password/reset", json={"token": token, "password": "another password"}).status_code == 200


def deactivate(person: Person, origin: str) -> None:
    staff = Person(origin, "staff")
    User.objects.filter(pk=staff.id).update(is_staff=True, is_superuser=True)
    assert staff.patch(f"users/{person.id}", json={"is_active": False}).status_code == 200
    staff.close()


def revoke_by_command(person: Person, origin: str) -> None:
    call_command("revoke_sessions", person.email, stdout=io.StringIO())


def delete_the_account(person: Person, origin: str) -> None:
    with another_session(person, origin) as api:
        assert api.delete("users/me").status_code == 204


def delete_by_command(person: Person, origin: str) -> None:
    call_command("delete_user", person.email, "--yes", stdout=io.StringIO())


WAYS = [
    log_out,
    log_out_everywhere,
    end_the_session,
    reuse_a_refresh_token,
    change_the_password,
    reset_the_password,
    deactivate,
    revoke_by_command,
    delete_the_account,
    delete_by_command,
]


@pytest.mark.faults
@pytest.mark.parametrize("end", WAYS)
def test_what_ends_a_session_ends_all_that_it_has_open(
    alice: Person,
    web_url: str,
    elsewhere: str,
    model_calls: Callable[[str], list[dict[str, Any]]],
    eventually: Callable[..., Any],
    end: Callable[[Person, str], None],
) -> None:
    marker = f"open-{alice.id}"
    calls = open_everything(alice, web_url, marker, model_calls)
    end(alice, elsewhere)
    ended_at = time.monotonic()
    calls.wait()
    for call in calls.calls:
        assert call.told() == ENDED, (call.name, call.events[-3:], call.last)
        assert call.status == (200 if call.streamed else 401), call.name
        if call.streamed:
            assert call.events[-1] == "error", call.name
    longest = max(call.ended_at for call in calls.calls) - ended_at
    figure(f"{end.__name__}: {len(calls.calls)} open calls ended within {longest:.2f} s")
    # One-off calls end with their caller's session.
    eventually(lambda: [call["outcome"] for call in model_calls(marker)].count("client_gone") >= 7)


@pytest.mark.faults
def test_the_reply_goes_on_for_its_owner(
    alice: Person, web_url: str, elsewhere: str, eventually: Callable[..., Any]
) -> None:
    conversation = alice.new_conversation(title="Titled")
    calls = OpenCalls(alice, web_url)
    path = f"chat/conversations/{conversation}/messages"
    body = {"content": "[[chunks=40]][[gap=0.5]]" + "word " * 40}
    call = calls.begin("send, streamed", "POST", path, stream=True, json=body)
    assert call.begun.wait(120)
    again = another_session(alice, elsewhere)
    log_out(alice, elsewhere)
    calls.wait()
    assert call.told() == ENDED
    with again:
        mid = f"{path}/{conversation}:00000002"
        answer = eventually(lambda: (m := again.get(mid).json()).get("status") == "complete" and m)
    assert answer["content"] == "Echo: " + ("word " * 40).strip()
    (entry,) = LedgerEntry.objects.filter(user_id=alice.id, purpose="chat")
    assert (entry.settled_at is not None, entry.output_tokens) == (True, answer["usage"]["output_tokens"])


@dataclass
class Shared:
    """A running reply of alice in a conversation that bob may read; both follow it."""

    organization: Organization
    conversation: str
    author: Open
    reader: Open
    calls: tuple[OpenCalls, OpenCalls]


@pytest.fixture
def shared(alice: Person, bob: Person, web_url: str, elsewhere: str) -> Shared:
    """`elsewhere` starts before the reply, which has AI_TIMEOUT_SECONDS."""
    organization = new_organization(owner=alice, member=bob, owner_2=make_user("second owner"))
    conversation = alice.new_conversation(organization_id=organization.pk, title="Titled")
    path = f"chat/conversations/{conversation}/messages"
    authors, readers = OpenCalls(alice, web_url), OpenCalls(bob, web_url)
    author = authors.begin("send, streamed", "POST", path, stream=True, json={"content": LONG})
    assert author.begun.wait(120)
    reader = readers.begin("follow", "GET", f"{path}/{conversation}:00000002/stream", stream=True)
    assert reader.begun.wait(120)
    return Shared(organization, conversation, author, reader, (authors, readers))


def remove_the_reader(alice: Person, bob: Person, shared: Shared, origin: str) -> None:
    with Api(origin, token=alice.tokens["access_token"]) as api:
        assert api.delete(f"organizations/{shared.organization.pk}/members/{bob.id}").status_code == 204


def leave(alice: Person, bob: Person, shared: Shared, origin: str) -> None:
    with Api(origin, token=bob.tokens["access_token"]) as api:
        assert api.delete(f"organizations/{shared.organization.pk}/members/{bob.id}").status_code == 204


def author_leaves(alice: Person, bob: Person, shared: Shared, origin: str) -> None:
    with Api(origin, token=alice.tokens["access_token"]) as api:
        assert api.delete(f"organizations/{shared.organization.pk}/members/{alice.id}").status_code == 204


def delete_the_organization(alice: Person, bob: Person, shared: Shared, origin: str) -> None:
    with Api(origin, token=alice.tokens["access_token"]) as api:
        assert api.delete(f"organizations/{shared.organization.pk}").status_code == 204


def delete_the_conversation(alice: Person, bob: Person, shared: Shared, origin: str) -> None:
    with Api(origin, token=alice.tokens["access_token"]) as api:
        assert api.delete(f"chat/conversations/{shared.conversation}").status_code == 204


@pytest.mark.faults
@pytest.mark.parametrize(
    "end", [remove_the_reader, leave, author_leaves, delete_the_organization, delete_the_conversation]
)
def test_what_ends_a_membership_ends_what_it_let_be_read(
    alice: Person, bob: Person, shared: Shared, elsewhere: str, end: Callable[..., None]
) -> None:
    end(alice, bob, shared, elsewhere)
    ended_at = time.monotonic()
    shared.calls[1].wait()
    assert (shared.reader.told(), shared.reader.events[-1]) == (GONE, "error")
    figure(f"{end.__name__}: the reader's stream ended within {shared.reader.ended_at - ended_at:.2f} s")
    if end is delete_the_conversation:
        shared.calls[0].wait()
        assert (shared.author.told(), shared.author.events[-1]) == (GONE, "error")
    else:
        assert shared.author.ended_at == 0.0
        assert alice.post(f"chat/conversations/{shared.conversation}/messages/{shared.conversation}:00000002/stop")
        shared.calls[0].wait()
        assert shared.author.events[-1] == "done"


@pytest.mark.faults
def test_without_redis_open_calls_end_a_little_later(
    register: Callable[..., Person], web_with: Callable[..., str], web_url: str
) -> None:
    url = web_with(**WITHOUT_REDIS)
    alice = register("alice", url)
    conversation = alice.new_conversation(title="Titled")
    calls = OpenCalls(alice, url)
    path = f"chat/conversations/{conversation}/messages"
    for call in (
        calls.begin("send, streamed", "POST", path, stream=True, json={"content": LONG}),
        calls.begin("complete, streamed", "POST", "ai/complete", stream=True, json={"prompt": LONG}),
    ):
        assert call.begun.wait(120)
    calls.begin("complete", "POST", "ai/complete", json={"prompt": LONG + "."})
    log_out(alice, web_url)
    ended_at = time.monotonic()
    calls.wait()
    assert [call.told() for call in calls.calls] == [ENDED] * 3
    longest = max(call.ended_at for call in calls.calls) - ended_at
    figure(f"without Redis: {len(calls.calls)} open calls ended within {longest:.2f} s")


def slowly(chunk: bytes) -> int:
    """The length of a chunk. Reading all of an export takes longer than the notice of an end, or the next look."""
    time.sleep(len(chunk) / 1_000_000)
    return len(chunk)


@pytest.mark.faults
@pytest.mark.parametrize(
    "path", ["users/me/export", f"{CONVERSATION}/export", f"{CONVERSATION}/export?format=markdown"]
)
def test_an_export_breaks_off(alice: Person, web_url: str, elsewhere: str, path: str) -> None:
    conversation = alice.new_conversation(title="Titled")
    many = 300  # more than the sockets' buffers hold
    store_messages(alice, conversation, ["word " * 6400] * many)
    small_buffer = httpx2.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    read: list[int] = []
    with (
        Api(web_url, token=alice.tokens["access_token"], transport=small_buffer) as api,
        api.stream("GET", path.replace(CONVERSATION, f"chat/conversations/{conversation}")) as answer,
    ):
        assert answer.status_code == 200
        chunks = answer.iter_raw()
        read.append(len(next(chunks)))
        log_out(alice, elsewhere)
        with pytest.raises(httpx2.RemoteProtocolError):
            read.extend(map(slowly, chunks))
    assert sum(read) < many * 32000
    figure(f"{path}: {sum(read)} of {many * 32000} bytes were read of an export whose session had ended")


def test_a_picture_breaks_off(alice: Person, web_url: str, elsewhere: str) -> None:
    noise = io.BytesIO()
    Image.frombytes("RGB", (1500, 1000), os.urandom(4_500_000)).save(noise, "JPEG", quality=95)
    uploaded = alice.post("chat/attachments", files={"file": ("noise.jpg", noise.getvalue(), "image/jpeg")})
    assert uploaded.status_code == 201, uploaded.text
    path = f"chat/attachments/{uploaded.json()['id']}"
    with RawClient(web_url, token=alice.tokens["access_token"], buffer=4096) as client:
        client.begin("GET", path)
        client.receive()
        log_out(alice, elsewhere)
        assert Api(web_url, token=alice.tokens["access_token"]).get(path).status_code == 401
        with pytest.raises((AssertionError, ConnectionError)):  # the connection ends before the picture is complete
            client.answer(pause=0.05)
