"""Sends an answer of the model to an HTTP request, as JSON or as server-sent events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import structlog
from django.http.response import HttpResponseBase

from accounts.open_calls.registry import HungUp, OpenCall, open_call
from accounts.requests import AuthenticatedRequest
from ai.calls.answers import Answer
from ai.errors import ONE_OFF_ERRORS
from ai.gemini import CallCancelled
from ai.serializers import ProgressOutput
from edgechat.errors import ApiError, error_body, to_api_error
from edgechat.http.bodies import Answer as JSONAnswer
from edgechat.http.bodies import Events
from edgechat.http.event_stream import (
    PING,
    PING_SECONDS,
    STREAM,
    DeltaOutput,
    event,
    wants_event_stream,
)
from edgechat.logs import current_request_id
from edgechat.openapi.notes import extend_schema, raises
from edgechat.processes.threads import start_thread, waiting
from edgechat.stores import store_time

logger = structlog.get_logger(__name__)

A = TypeVar("A", bound=Answer)
F = TypeVar("F", bound=Callable[..., HttpResponseBase])
Piece = str | ProgressOutput | None


def describe(
    operation_id: str, request: Any, output: type, events: Events, *errors: type[ApiError]
) -> Callable[[F], F]:
    """Describe a view's method that answers with `respond`, as JSON or as events; `output` is the answer's body."""
    responses = {(200, "application/json"): output, (200, "text/event-stream"): events}
    published = extend_schema(
        operation_id=operation_id, tags=["ai"], parameters=[STREAM], request=request, responses=responses
    )
    return lambda method: published(raises(*ONE_OFF_ERRORS, *errors)(method))


def describe_stream(operation_id: str, request: Any, events: Events, *errors: type[ApiError]) -> Callable[[F], F]:
    """Describe a view's method that answers with `respond`, always as events."""
    responses = {(200, "text/event-stream"): events}
    published = extend_schema(operation_id=operation_id, tags=["ai"], request=request, responses=responses)
    return lambda method: published(raises(*ONE_OFF_ERRORS, *errors)(method))


def respond(
    request: AuthenticatedRequest,
    prepare: Callable[[OpenCall], A],
    *,
    streamed: bool | None = None,
    write_events: Callable[[A, Writer, list[Piece]], Iterator[bytes]] | None = None,
    reconnect: bool = True,
) -> HttpResponseBase:
    """The whole answer as JSON, or a stream of events while the answer is made.

    In both forms, the calls to the model end when the client closes the connection or its session ends. `streamed` is
    None for a view whose clients choose the form. A view with a protocol of its own says how its events are written.
    """
    if streamed is None:
        streamed = wants_event_stream(request)
    with open_call(request, events=streamed, reply=True) as call:
        answer = prepare(call)
        call.on_end(lambda: _cancel(answer, call))
        if not streamed:
            try:
                return JSONAnswer(answer.run())
            finally:
                call.raise_if_over()
        events = _stream(answer, call, write_events or _events)
        return call.stream(events, reconnect=reconnect)


def _cancel(answer: Answer, call: OpenCall) -> None:
    if not (answer.outlives_client and call.hung_up):
        answer.cancel()


class Writer:
    """Makes the answer in its own thread, so that pings are sent while the model is silent."""

    def __init__(self, answer: Answer, call: OpenCall) -> None:
        self.error: ApiError | None = None
        self._answer = answer
        self._call = call
        self._ended = threading.Event()
        self._pieces: SimpleQueue[Piece] = SimpleQueue()
        call.on_end(lambda: self._pieces.put(None))
        start_thread(self._run, store_time.deadline())

    def wait(self) -> list[Piece]:
        """The pieces that have arrived, and None if the answer has ended; none after a ping interval without any.

        Raises the error that ended the call.
        """
        pieces = []
        with suppress(Empty), waiting():
            pieces.append(self._pieces.get(timeout=PING_SECONDS))
            while True:
                pieces.append(self._pieces.get_nowait())
        self._call.raise_if_over()
        return pieces

    def batches(self, first: list[Piece]) -> Iterator[list[Piece]]:
        """The pieces as they arrive, after the first ones; an empty list for each ping interval without any.

        Raises the error that ended the answer or the call.
        """
        pieces = first
        while True:
            yield pieces
            if None in pieces:
                break
            pieces = self.wait()
        if self.error is not None:
            raise self.error

    def finish(self) -> None:
        """No more pieces are wanted: cancel the answer, or wait for its end if it outlives its client.

        The slots of the call are held until then.
        """
        if self._answer.outlives_client:
            with waiting():
                self._ended.wait()
        else:
            self._answer.cancel()

    def _run(self, deadline: float | None) -> None:
        store_time.share_deadline(deadline)
        try:
            for piece in self._answer.pieces():
                self._pieces.put(piece)
        except CallCancelled:
            self.error = ApiError()  # the client has disconnected
        except Exception as error:
            self.error = to_api_error(error)
            if self.error is None:
                logger.exception("completion_failed")
                self.error = ApiError()
        finally:
            self._ended.set()
            self._pieces.put(None)


def _stream(
    answer: A, call: OpenCall, write_events: Callable[[A, Writer, list[Piece]], Iterator[bytes]]
) -> Iterator[bytes]:
    """The events of the answer.

    Waits for the first piece, at most for one ping interval: an error before it is raised here and becomes an ordinary
    error response.
    """
    writer = Writer(answer, call)
    call.on_close.append(writer.finish)
    pieces = writer.wait()
    if pieces == [None] and writer.error is not None:
        raise writer.error
    return write_events(answer, writer, pieces)


def _events(answer: Answer, writer: Writer, pieces: list[Piece]) -> Iterator[bytes]:
    """`progress` events if there are any, `delta` events, then `done` with the answer's body, or `error`."""
    try:
        for batch in writer.batches(pieces):
            for piece in batch:
                if isinstance(piece, dict):
                    yield event("progress", piece)
            if text := "".join(piece for piece in batch if isinstance(piece, str)):
                yield event("delta", DeltaOutput(text=text))
            if not batch:
                yield PING
        yield event("done", answer.body())
    except HungUp:
        return
    except ApiError as error:
        yield event("error", error_body(error, current_request_id()))
