"""One user of `bench.soak`: does what a phone does, repeats what failed as the client guide says, and remembers it."""

from __future__ import annotations

import io
import json
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
from PIL import Image

from bench.site import Person

EXCHANGES = 20  # of a conversation, before the next one is begun
GIVE_UP_SECONDS = 60.0
_PAUSE_SECONDS = 0.3
_TRANSPORT = "connection cut"


@dataclass(frozen=True)
class Unavailable:
    """An answer 503."""

    kind: str
    seconds: float
    code: str
    request_id: str


@dataclass
class Tally:
    """What one client has sent and been told."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (kind of call, "200", "503 code", ...)
    seconds_of_good: list[float] = field(default_factory=list)
    # By conversation: the keys of messages that the server has acknowledged, and all that were sent.
    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    attachments: set[str] = field(default_factory=set)
    given_up: int = 0
    unavailable: list[Unavailable] = field(default_factory=list)
    texts_compared: int = 0
    texts_different: int = 0


class SoakClient:
    """`act()` does one thing, chosen at random. Not for several threads."""

    def __init__(self, url: str, person: Person, seed: int) -> None:
        self.tally = Tally()
        self._person = person
        self._random = random.Random(seed)  # nosec B311 # no secret
        headers = {"Authorization": f"Bearer {person.token}"}
        self._client = httpx2.Client(base_url=f"{url}/api/v1/", headers=headers, timeout=30, trust_env=False)
        self._conversation = ""
        self._exchanges = EXCHANGES

    def act(self) -> None:
        actions = {
            self._send: 6,
            self._stream: 6,
            self._stop: 2,
            self._regenerate: 2,
            self._complete: 3,
            self._upload: 1,
            self._list: 6,
            self._login: 1,
        }
        [action] = self._random.choices(list(actions), list(actions.values()))
        if self._exchanges >= EXCHANGES:
            body = {"title": "Soak"}
            answer = self._call("create", "POST", "chat/conversations", json=body, headers=_key())
            if answer is None:
                return
            self._conversation, self._exchanges = answer.json()["id"], 0
        action()
        time.sleep(self._random.uniform(0.02, 0.2))

    def messages(self, conversation: str) -> list[dict[str, Any]]:
        """All messages of a conversation, once none of them is being written; waits for that a minute at most."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            answer = self._call("check", "GET", f"chat/conversations/{conversation}/messages", params={"limit": 100})
            messages: list[dict[str, Any]] = [] if answer is None else answer.json()["messages"]
            if time.monotonic() > deadline or not any(each["status"] == "generating" for each in messages):
                return messages
            time.sleep(_PAUSE_SECONDS)

    def has_attachment(self, attachment: str) -> bool:
        answer = self._call("check", "GET", f"chat/attachments/{attachment}")
        return answer is not None

    def close(self) -> None:
        self._client.close()

    # --- What a user does --------------------------------------------------------------------------------------------

    def _send(self) -> None:
        self._exchanges += 1
        body = {"content": self._words(), "client_message_id": uuid.uuid4().hex}
        answer = self._call("send", "POST", f"{self._path}/messages", json=body)
        if answer is not None:
            self.tally.acknowledged[self._conversation].add(body["client_message_id"])

    def _stream(self) -> None:
        """A streamed send. Half of the connections are cut after a few words, and the stream is resumed."""
        self._exchanges += 1
        cut_after = self._random.randint(1, 8) if self._random.random() < 0.5 else 0
        content = f"[[chunks=12]][[gap=0.05]]{self._words()}"
        _Reply(self, self._path, content).read(cut_after=cut_after)

    def _stop(self) -> None:
        self._exchanges += 1
        reply = _Reply(self, self._path, f"[[chunks=100]][[gap=0.1]]{self._words()}")
        reply.read(stop_after=2)

    def _regenerate(self) -> None:
        answer = self._call("page", "GET", f"{self._path}/messages", params={"limit": 1, "latest": "true"})
        if answer is not None and answer.json()["messages"]:
            [last] = answer.json()["messages"]
            self._call("regenerate", "POST", f"{self._path}/messages/{last['id']}/regenerate", json={})

    def _complete(self) -> None:
        # The id of the request finds the call in the ledger.
        words = self._words()
        request_id = {"X-Request-ID": words.split()[0]}
        self._call("complete", "POST", "ai/complete", json={"prompt": words}, headers=request_id)

    def _upload(self) -> None:
        file = io.BytesIO()
        Image.effect_noise((64, 48), self._random.uniform(10, 90)).save(file, "PNG")
        files = {"file": ("noise.png", file.getvalue(), "image/png")}
        answer = self._call("upload", "POST", "chat/attachments", files=files, headers=_key())
        if answer is not None:
            self.tally.attachments.add(answer.json()["id"])

    def _list(self) -> None:
        self._call("list", "GET", "chat/conversations")
        self._call("page", "GET", f"{self._path}/messages", params={"limit": 50})

    def _login(self) -> None:
        body = {"email": self._person.email, "password": self._person.password}
        self._call("login", "POST", "auth/login", json=body)

    # --- How it asks -------------------------------------------------------------------------------------------------

    @property
    def _path(self) -> str:
        return f"chat/conversations/{self._conversation}"

    def _words(self) -> str:
        return f"{uuid.uuid4().hex} " + "word " * self._random.randint(5, 50)

    def _call(self, kind: str, method: str, path: str, **request: Any) -> httpx2.Response | None:
        """The good answer, after as many attempts as it takes. None when a minute is over, or it will never come."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            began = time.monotonic()
            try:
                answer = self._client.request(method, path, **request)
            except httpx2.TransportError:
                self.tally.outcomes[kind, _TRANSPORT] += 1
            else:
                self.note(kind, answer, began)
                if answer.is_success:
                    return answer
                if answer.status_code not in (409, 429, 503):
                    break
            time.sleep(_PAUSE_SECONDS)
        self.tally.given_up += 1
        return None

    def note(self, kind: str, answer: httpx2.Response, began: float) -> None:
        outcome = str(answer.status_code)
        if not answer.is_success:
            answer.read()
            with suppress(ValueError):
                outcome += f" {answer.json()['code']}"
        self.tally.outcomes[kind, outcome] += 1
        took = time.monotonic() - began
        if answer.is_success:
            self.tally.seconds_of_good.append(took)
        elif answer.status_code == 503:
            _, _, code = outcome.partition(" ")
            self.tally.unavailable.append(Unavailable(kind, took, code, answer.headers.get("X-Request-ID", "")))

    def open_stream(self, method: str, path: str, **request: Any) -> Any:
        return self._client.stream(method, path, **request)

    def stop(self, message: str) -> None:
        self._call("stop", "POST", f"{self._path}/messages/{message}/stop")

    def acknowledge(self, key: str) -> None:
        self.tally.acknowledged[self._conversation].add(key)


class _Reply:
    """A streamed send, followed to its end over any number of connections."""

    def __init__(self, client: SoakClient, path: str, content: str) -> None:
        self._client = client
        self._path = path
        self._body = {"content": content, "client_message_id": uuid.uuid4().hex}
        self._message = ""
        self._last_id = ""
        self._text = ""
        self._deltas = 0
        self._final: dict[str, Any] | None = None

    def read(self, *, cut_after: int = 0, stop_after: int = 0) -> None:
        """`cut_after` and `stop_after` are numbers of deltas, 0 for never. Compares the text with the final message."""
        tally = self._client.tally
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while self._final is None:
            if time.monotonic() > deadline:
                tally.given_up += 1
                return
            kind = "resume" if self._message else "stream"
            began = time.monotonic()
            try:
                with self._open() as answer:
                    self._client.note(kind, answer, began)
                    if answer.status_code == 200:
                        for event in _events(answer):
                            self._take(*event)
                            if cut_after and self._deltas == cut_after:
                                cut_after = 0
                                break
                            if stop_after and self._deltas == stop_after:
                                stop_after = 0
                                self._client.stop(self._message)
            except httpx2.TransportError:
                tally.outcomes[kind, _TRANSPORT] += 1
            if self._final is None:
                time.sleep(_PAUSE_SECONDS)
        tally.texts_compared += 1
        tally.texts_different += self._text != self._final["content"]

    def _open(self) -> Any:
        if not self._message:
            headers = {"Accept": "text/event-stream"}
            return self._client.open_stream("POST", f"{self._path}/messages", json=self._body, headers=headers)
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        return self._client.open_stream("GET", f"{self._path}/messages/{self._message}/stream", headers=headers)

    def _take(self, name: str, event_id: str, data: Any) -> None:
        self._last_id = event_id or self._last_id
        if name == "message":
            self._message = data["model_message"]["id"]
            self._client.acknowledge(self._body["client_message_id"])
        elif name == "restart":
            self._text = ""
        elif name == "delta":
            self._text += data["text"]
            self._deltas += 1
        elif name == "done":
            self._final = data
        elif name == "error":
            self._client.tally.outcomes["stream", f"error {data['code']}"] += 1


def _events(answer: httpx2.Response) -> Iterator[tuple[str, str, Any]]:
    """(name, id, data) of each event."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            yield fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"])
        fields = {}


def _key() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}
