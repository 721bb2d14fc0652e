"""Closing a response immediately closes what produces its body."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator

from django.http import StreamingHttpResponse
from django.test import RequestFactory

from edgechat.http.event_stream import event_stream_response
from edgechat.http.file_response import file_response


def test_closing_an_event_stream_closes_its_generator_then_the_call() -> None:
    told: list[str] = []

    def events() -> Iterator[bytes]:
        try:
            yield b"one"
            yield b"two"
        finally:
            told.append("generator")

    gc.disable()  # the garbage collector must not close anything here
    try:
        for read in range(4):
            told.clear()
            response = event_stream_response(events(), on_close=lambda: told.append("call"))
            chunks = iter(response)
            for _ in range(read):
                next(chunks)
            response.close()
            # A generator that has not started holds nothing.
            assert told == (["generator", "call"] if read > 1 else ["call"])
            assert list(chunks) == [] or read == 0
    finally:
        gc.enable()


def test_closing_in_the_middle_of_a_step_still_ends_the_call() -> None:
    told: list[str] = []
    responses: list[StreamingHttpResponse] = []

    def events() -> Iterator[bytes]:
        responses[0].close()
        yield b"one"

    responses.append(event_stream_response(events(), on_close=lambda: told.append("call")))
    assert len(list(responses[0])) == 2
    assert told == ["call"]


def test_closing_a_file_that_nobody_read_closes_it() -> None:
    file = io.BytesIO(b"picture")
    response = file_response(RequestFactory().get("/"), file, size=7, mime_type="image/png", etag="x")
    assert isinstance(response, StreamingHttpResponse)
    response.close()
    assert file.closed
