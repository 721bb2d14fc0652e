"""Server-sent events: their format, and the response that carries them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Annotated, Any, TypedDict

import structlog
from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from edgechat.errors import Error
from edgechat.http.answer_bytes import encode_json

logger = structlog.get_logger(__name__)

PING_SECONDS = 15.0
PING = b": ping\n\n"
RETRY_MILLISECONDS = 1000

STREAM = OpenApiParameter("stream", bool, description="Events instead of JSON, as with `Accept: text/event-stream`.")


# The descriptions of the published event schemas.
EVENT_FORM = (
    "One event of a stream, as an object: `event` is the event's name, `id` its `id:` line, `data` its `data:` line, "
    "parsed as JSON. On the wire an event is text: `event: delta`, `id: 1-18`, `data: {…}`, one line each, and an "
    "empty line at its end.\n\n"
)
PING_MEANING = (
    f"`: ping` is a comment, sent when there was no event for {PING_SECONDS:.0f} s. Clients ignore it, and may give up "
    "a connection that has been silent for 40 s."
)
ONE_OFF_STREAM = (
    EVENT_FORM + "The stream starts with `retry: 1000`, and ends after `done` or `error`. Its events have no `id`: it "
    "cannot be resumed. Closing the connection ends the call to the model, and what was written by then is charged. A "
    "fault before the first event is an ordinary error with its status. " + PING_MEANING
)


class DeltaOutput(TypedDict):
    text: Annotated[str, "What the model has written since the event before."]


DeltaEvent = Annotated[DeltaOutput, "More of the answer: append its text."]
ErrorEvent = Annotated[Error, "The call has failed, or the session has ended. The stream ends."]


def event(name: str, data: Any, *, event_id: str | None = None) -> bytes:
    """One event, whose data is a body."""
    identity = f"id: {event_id}\n" if event_id is not None else ""
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), identity.encode(), encode_json(data))


class ClosingBody:
    """A response's body, which the server closes whether or not it has started to read it.

    A generator that has not started would not notice. The generator is closed before `on_close` is called.
    """

    def __init__(self, chunks: Iterable[bytes], on_close: Callable[[], None]) -> None:
        self._chunks = chunks
        self._on_close = on_close

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks

    def close(self) -> None:
        try:
            if isinstance(self._chunks, Generator):
                self._chunks.close()
        except ValueError:  # another thread runs it, and notices when its call ends
            logger.warning("body_closed_while_generated")
        finally:
            self._on_close()


class _Events(ClosingBody):
    def __init__(
        self, events: Iterable[bytes], on_close: Callable[[], None], on_first: Callable[[], object], *, reconnect: bool
    ) -> None:
        super().__init__(events, on_close)
        self._on_first = on_first
        self._reconnect = reconnect

    def __iter__(self) -> Iterator[bytes]:
        if self._reconnect:
            yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        chunks = iter(self._chunks)
        for chunk in chunks:
            if chunk is not PING:
                self._on_first()
                yield chunk
                break
            yield chunk
        yield from chunks


def event_stream_response(
    events: Iterable[bytes],
    *,
    on_first: Callable[[], object] = lambda: None,
    on_close: Callable[[], None] = lambda: None,
    reconnect: bool = True,
) -> StreamingHttpResponse:
    """A response that no cache keeps and no proxy buffers or compresses.

    It starts with the reconnection time if clients `reconnect` to it. `on_first` is called before the first event,
    `on_close` when the response has ended or its client is gone.
    """
    return StreamingHttpResponse(
        _Events(events, on_close, on_first, reconnect=reconnect),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"},
    )


def wants_event_stream(request: Request) -> bool:
    """Whether the client requests events: by `Accept: text/event-stream` or `?stream=true`."""
    if request.query_params.get("stream", "").lower() in ("true", "1"):
        return True
    accepted = (entry.partition(";")[0].strip().lower() for entry in request.headers.get("Accept", "").split(","))
    return "text/event-stream" in accepted
