"""A client of EdgeChat's API. It needs httpx: `pip install httpx`."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

Json = dict[str, Any]


# --8<-- [start:errors]
class ApiError(Exception):
    """An error of the API: `code` is for programs, the text for people."""

    def __init__(self, body: Json, *, retry_after: float = 0.0) -> None:
        super().__init__(body.get("detail", "The answer cannot be read"))
        self.code: str = body.get("code", "unreadable")
        self.context: Json = body.get("context", {})
        self.errors: list[Json] = body.get("errors", [])
        self.request_id: str = body.get("request_id", "")
        self.retry_after = retry_after


def error_of(response: httpx.Response) -> ApiError:
    """The error in a response. What a proxy answers by itself is not JSON."""
    json_body = response.headers.get("Content-Type", "").startswith("application/json")
    retry_after = float(response.headers.get("Retry-After", 0))
    return ApiError(response.json() if json_body else {"code": "unreadable"}, retry_after=retry_after)


# --8<-- [end:errors]


# --8<-- [start:tokens]
class Tokens:
    """The token pair of one login. `save` stores it where it survives the end of the program."""

    def __init__(self, http: httpx.Client, pair: Json, save: Callable[[Json], None]) -> None:
        self._http = http
        self._pair = pair
        self._save = save
        self._lock = threading.Lock()

    def access(self) -> str:
        token: str = self._pair["access_token"]
        return token

    def refresh(self, refused: str) -> None:
        """Get the next pair, unless another thread already has. Raises ApiError when the user must log in again.

        If the answer is lost, the same call returns the same pair.
        """
        with self._lock:
            if self.access() != refused:
                return
            body = {"refresh_token": self._pair["refresh_token"]}
            response = repeat(lambda: self._http.post("auth/refresh", json=body))
            pair = {**self._pair, **response.json()}  # keeps the device token
            self._save(pair)  # first: a pair that is lost cannot be made again once it was used
            self._pair = pair


# --8<-- [end:tokens]


# --8<-- [start:retry]
ATTEMPTS = 5
SOON = {"rate_limited", "too_many_replies", "store_unavailable", "shutting_down", "unreadable"}


def pause(attempt: int, retry_after: float = 0.0) -> None:
    """Wait 0.5, 1, 2, 4 s, or as long as the server asks, and a little more so that clients do not come together."""
    time.sleep(max(retry_after, 0.5 * 2**attempt) * (1 + random.random() / 4))


def repeat(send: Callable[[], httpx.Response]) -> httpx.Response:
    """The response to a request that may be sent again, after faults that pass by themselves. Raises ApiError."""
    for attempt in range(ATTEMPTS):
        last = attempt == ATTEMPTS - 1
        try:
            response = send()
        except httpx.TransportError:
            if last:
                raise
            pause(attempt)
            continue
        if response.is_success:
            return response
        error = error_of(response)
        if last or error.code not in SOON:
            raise error
        pause(attempt, error.retry_after)
    raise AssertionError("unreachable")


# --8<-- [end:retry]


# --8<-- [start:events]
@dataclass
class Event:
    name: str
    id: str | None
    data: Json


def read_events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The events of a stream. A line ends with a line feed only: answers may contain U+2028 and its like."""
    buffer, fields = b"", dict[str, str]()
    for chunk in chunks:
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.decode().partition(": ")
            if name in ("event", "id", "data"):
                fields[name] = value
            elif not line and "data" in fields:
                yield Event(fields["event"], fields.get("id"), json.loads(fields["data"]))
                fields = {}


# --8<-- [end:events]


# --8<-- [start:reply]
@dataclass
class Reply:
    """A reply as far as it was received. `message` is the model's message, final when `ended`."""

    text: str = ""
    message: Json | None = None
    last_id: str = ""
    ended: bool = False

    def apply(self, event: Event) -> None:
        """Raises ApiError if the reply failed without a text, or can no longer be read."""
        self.last_id = event.id or self.last_id
        if event.name == "message":
            self.message = event.data["model_message"]
        elif event.name == "delta":
            self.text += event.data["text"]
        elif event.name == "restart":
            self.text = ""
        elif event.name == "done":
            self.message, self.text, self.ended = event.data, event.data["content"], True
        elif event.name == "error":
            self.ended = event.id is not None  # without an id, the stream ends, but the reply continues
            raise ApiError(event.data)


# --8<-- [end:reply]


class EdgeChat:
    """One user's connection to EdgeChat. `base_url` ends with `/api/v1/`."""

    # --8<-- [start:login]
    def __init__(self, base_url: str, pair: Json, save: Callable[[Json], None], **options: Any) -> None:
        self.http = httpx.Client(base_url=base_url, timeout=httpx.Timeout(150, connect=10), **options)
        self.tokens = Tokens(self.http, pair, save)

    @classmethod
    def log_in(
        cls, base_url: str, email: str, password: str, save: Callable[[Json], None], device: str = "", **options: Any
    ) -> EdgeChat:
        with httpx.Client(base_url=base_url, **options) as http:
            body = {"email": email, "password": password, "device_name": "A script", "device_token": device}
            pair = repeat(lambda: http.post("auth/login", json=body)).json()
        save(pair)
        return cls(base_url, pair, save, **options)

    def log_out(self) -> None:
        self.call("POST", "auth/logout")

    # --8<-- [end:login]

    # --8<-- [start:call]
    def call(self, method: str, path: str, *, key: str | None = None, **body: Any) -> Any:
        """The answer of a call. Raises ApiError.

        A POST is sent again after a fault only if it has a key: the server then knows that it is the same request.
        """
        headers = {} if key is None else {"Idempotency-Key": key}

        def send() -> httpx.Response:
            return self._authenticated(lambda access: self.http.request(method, path, headers=access | headers, **body))

        response = send() if method == "POST" and key is None else repeat(send)
        if not response.is_success:
            raise error_of(response)
        return response.json() if response.content else None

    def _authenticated(self, send: Callable[[dict[str, str]], httpx.Response]) -> httpx.Response:
        """The response to a request, which is sent a second time if its access token has expired."""
        token = self.tokens.access()
        response = send({"Authorization": f"Bearer {token}"})
        if response.status_code == 401 and error_of(response).code == "token_expired":
            self.tokens.refresh(token)
            response = send({"Authorization": f"Bearer {self.tokens.access()}"})
        return response

    # --8<-- [end:call]

    # --8<-- [start:send]
    def send(self, conversation_id: str, content: str, key: str, attachment_ids: Iterable[str] = ()) -> Json:
        """Send a message and wait for the answer: `{"user_message", "model_message"}`.

        `key` is a UUID that is stored with the draft before the first attempt. The same key never sends twice.
        """
        path = f"chat/conversations/{conversation_id}/messages"
        body = {"content": content, "attachment_ids": list(attachment_ids), "client_message_id": key}
        answer: Json = self.call("POST", path, key=key, json=body)
        return answer

    # --8<-- [end:send]

    # --8<-- [start:stream]
    def stream(self, conversation_id: str, content: str, key: str) -> Iterator[Reply]:
        """Send a message, and yield the reply each time it has grown, until it has ended.

        If the connection is lost, the stream continues where it was. Raises ApiError, and httpx.TransportError when
        several attempts in succession failed.
        """
        path = f"chat/conversations/{conversation_id}/messages"
        body = {"content": content, "client_message_id": key}
        reply, failed = Reply(), 0
        while not reply.ended:
            try:
                if reply.message is None:  # the same key: what arrived earlier is not sent twice
                    events = self._events("POST", path, {"Idempotency-Key": key}, body)
                else:
                    path_of_reply = f"{path}/{reply.message['id']}/stream"
                    events = self._events("GET", path_of_reply, {"Last-Event-ID": reply.last_id})
                for event in events:
                    reply.apply(event)
                    failed = 0
                    yield reply
                if not reply.ended:
                    raise httpx.ReadError("The server is restarting")  # another process continues the reply
            except httpx.TransportError:
                failed += 1
                if failed == ATTEMPTS:
                    raise
                pause(failed - 1)
            except ApiError as error:
                failed += 1
                if reply.ended or failed == ATTEMPTS or error.code not in SOON:
                    raise
                pause(failed - 1, error.retry_after)

    def _events(self, method: str, path: str, headers: dict[str, str], body: Json | None = None) -> Iterator[Event]:
        """The events of one connection. Nothing for 40 s, not even a ping (one every 15 s), means that it is dead."""

        def send(access: dict[str, str]) -> httpx.Response:
            wanted = access | headers | {"Accept": "text/event-stream"}
            request = self.http.build_request(method, path, headers=wanted, json=body, timeout=httpx.Timeout(40))
            response = self.http.send(request, stream=True)
            if not response.is_success:
                response.read()
            return response

        response = self._authenticated(send)
        try:
            if not response.is_success:
                raise error_of(response)
            yield from read_events(response.iter_bytes())
        finally:
            response.close()

    def stop(self, conversation_id: str, message_id: str) -> Json:
        """Stop a reply; its text is kept. Closing the stream does not stop it."""
        path = f"chat/conversations/{conversation_id}/messages/{message_id}/stop"
        answer: Json = self.call("POST", path)
        return answer

    # --8<-- [end:stream]

    # --8<-- [start:sync]
    def sync(self, store: Store) -> None:
        """Bring a device's copy up to date. Can be interrupted at any point and called again."""
        while True:
            page = self.call("GET", "chat/changes", params={"since": store.since})
            for conversation in page["conversations"]:
                store.conversations[conversation["id"]] = conversation
                self._sync_messages(conversation["id"], store)
            for conversation_id in page["deleted"]:
                store.conversations.pop(conversation_id, None)
                store.messages.pop(conversation_id, None)
            store.since = page["next_since"]  # last: an interrupted page comes again
            if not page["has_more"]:
                return

    def _sync_messages(self, conversation_id: str, store: Store) -> None:
        """Messages are appended, and only the last exchange is ever answered again: read from there."""
        known = store.messages.setdefault(conversation_id, {})
        after = max(max(known, default=0) - 2, 0)
        while True:
            path = f"chat/conversations/{conversation_id}/messages"
            page = self.call("GET", path, params={"after": after, "limit": 100})
            known.update({message["seq"]: message for message in page["messages"]})
            if not page["has_more"]:
                return
            after = page["messages"][-1]["seq"]

    # --8<-- [end:sync]

    # --8<-- [start:upload]
    def upload(self, name: str, picture: bytes, key: str) -> str:
        """Upload a picture and return its id. It is deleted after 24 hours unless a message uses it."""
        answer: Json = self.call("POST", "chat/attachments", key=key, files={"file": (name, picture)})
        attachment_id: str = answer["id"]
        return attachment_id

    # --8<-- [end:upload]


# --8<-- [start:store]
class Store:
    """A device's copy. A real app keeps it in SQLite."""

    def __init__(self) -> None:
        self.since = 0
        self.conversations: dict[str, Json] = {}
        self.messages: dict[str, dict[int, Json]] = {}


# --8<-- [end:store]
