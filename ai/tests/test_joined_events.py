"""Events of the model's answer that arrive together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types

from ai.gemini.answers import Chunk, read_chunk
from ai.gemini.joined_events import END, join_events

COUNTS = {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}}


def event(text: str, *, part: Any = None, candidate: Any = None, **more: Any) -> bytes:
    content = {"role": "model", "parts": [{"text": text, **(part or {})}]}
    return b"data: " + json.dumps({"candidates": [{"content": content, **(candidate or {})}], **more}).encode()


def chunks(data: bytes) -> list[Chunk]:
    answers = [json.loads(raw.removeprefix(b"data: ")) for raw in data.split(END) if raw]
    return [read_chunk(types.GenerateContentResponse.model_validate(answer)) for answer in answers]


def test_events_that_only_add_text_become_the_last_one_with_all_text() -> None:
    events = [event("one "), event('"zwei" 漢\r\n', **COUNTS, modelVersion="m"), event("", **COUNTS, modelVersion="m")]
    last = event("end", candidate={"finishReason": "STOP", "index": 0}, **COUNTS, modelVersion="m", responseId="r")
    joined = join_events(END.join([*events, last, b""]))
    (chunk,) = chunks(joined)
    assert chunk == Chunk('one "zwei" 漢\r\nend', chunks(last)[0].usage, "STOP", "m", blocked=False)
    assert chunk.usage is not None
    assert joined.endswith(END)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (event("one", **COUNTS), event("two")),
        (event("one", modelVersion="a"), event("two", modelVersion="b")),
        (event("one", candidate={"finishReason": "STOP"}), event("two")),
        (event("one"), event("two", part={"thought": True})),
        (event("one"), event("two", candidate={"index": 1})),
        (event("one", candidate={"index": 1}), event("two")),
        (event("one"), event("two", promptFeedback={"blockReason": "OTHER"})),
        (event("one"), event("two", aFieldOfNextYear=1)),
        (event("\ud83d"), event("\ude00")),
        (event("one"), b'data: {"error": {"code": 429}}'),
        (event("one"), event("two").replace(b"data: ", b"event: x\r\ndata: ")),
    ],
)
def test_an_event_that_says_more_stays_as_it_is(first: bytes, second: bytes) -> None:
    data = END.join([first, second, b""])
    assert join_events(data) == data


def test_parts_of_events_stay_where_they_are() -> None:
    whole = END.join([event("a"), event("b"), event("c"), event("d"), b""])
    for start in range(0, len(event("a")) + 3, 7):
        for end in range(len(whole) - 40, len(whole)):
            data = whole[:start] + join_events(whole[start:end]) + whole[end:]
            assert "".join(chunk.text for chunk in chunks(data)) == "abcd"
