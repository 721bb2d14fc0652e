"""Reading event streams in tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from conftest import Person

Event = dict[str, Any]
EVENT_STREAM = {"Accept": "text/event-stream"}


def read_events(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a stream as `{"event", "id", "data"}`; comments and `retry` as `{"comment"}` and `{"retry"}`."""
    fields: Event = {}
    for line in lines:
        if not line:
            if fields:
                yield fields
            fields = {}
        elif line.startswith(":"):
            yield {"comment": line}
        else:
            name, _, value = line.partition(": ")
            fields[name] = json.loads(value) if name == "data" else value


def stream_send(person: Person, conversation_id: str, content: str, **body: Any) -> list[Event]:
    path = f"chat/conversations/{conversation_id}/messages"
    with person.stream("POST", path, json={"content": content, **body}, headers=EVENT_STREAM) as answer:
        assert answer.status_code == 200, answer.read()
        return list(read_events(answer.iter_lines()))


def follow(person: Person, conversation_id: str, mid: str, last_id: str | None = None) -> tuple[int, list[Event]]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    path = f"chat/conversations/{conversation_id}/messages/{mid}/stream"
    with person.stream("GET", path, headers=headers) as answer:
        return answer.status_code, list(read_events(answer.iter_lines()))


def text_of(events: Iterable[Event]) -> str:
    """The text of a client: all deltas since the last restart."""
    text = ""
    for told in events:
        if told.get("event") == "restart":
            text = ""
        elif told.get("event") == "delta":
            text += told["data"]["text"]
    return text
