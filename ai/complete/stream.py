"""An answer as server-sent events. It belongs to its connection: a disconnect ends the calls to the model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import structlog
from django.db import OperationalError

from accounts.open_calls.registry import HungUp, OpenCall
from ai.calls.answers import Answer
from ai.gemini.call_control import CallCancelled
from ai.serializers import ProgressOutput
from edgechat.errors import ApiError, StoreUnavailable, error_body
from edgechat.http.event_stream import PING, PING_SECONDS, DeltaOutput, event
from edgechat.logs import current_request_id
from edgechat.processes.threads import start_thread, waiting

logger = structlog.get_logger(__name__)


def stream_completion(answer: Answer, call: OpenCall) -> Iterator[bytes]:
    """`progress` events if there are any, `delta` events, then `done` with the answer's body, or `error`.

    Waits for the first piece, at most for one ping interval: an error before it is raised here and becomes an ordinary
    error response.
    """
    writer = _Writer(answer)
    with call.waking(writer.wake):
        pieces, ended = writer.beyond(0, timeout=PING_SECONDS, unless=call.is_over)
    call.raise_if_over()
    if ended and not pieces and writer.error is not None:
        raise writer.error
    return _events(answer, writer, call)


class _Writer:
    """Makes the answer in its own thread, so that pings are sent while the model is silent."""

    def __init__(self, answer: Answer) -> None:
        self.error: ApiError | None = None
        self._pieces: list[str | ProgressOutput] = []
        self._ended = False
        self._changed = threading.Condition()
        start_thread(self._run, answer)

    def beyond(
        self, told: int, *, timeout: float, unless: Callable[[], bool]
    ) -> tuple[list[str | ProgressOutput], bool]:
        """The pieces after the first `told`, as soon as there are any, and whether the answer has ended.

        Stops waiting when `unless` is true.
        """
        with waiting(), self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._pieces) > told or unless(), timeout)
            return self._pieces[told:], self._ended

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _run(self, answer: Answer) -> None:
        try:
            for piece in answer.pieces():
                with self._changed:
                    self._pieces.append(piece)
                    self._changed.notify_all()
        except ApiError as error:
            self.error = error
        except CallCancelled:
            self.error = ApiError()  # the client has disconnected
        except OperationalError:
            self.error = StoreUnavailable()
        except Exception:
            logger.exception("completion_failed")
            self.error = ApiError()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()


def _events(answer: Answer, writer: _Writer, call: OpenCall) -> Iterator[bytes]:
    told = 0
    try:
        while True:
            with call.waking(writer.wake):
                pieces, ended = writer.beyond(told, timeout=PING_SECONDS, unless=call.is_over)
            call.raise_if_over()
            if pieces:
                told += len(pieces)
                for piece in pieces:
                    if not isinstance(piece, str):
                        yield event("progress", piece)
                if text := "".join(piece for piece in pieces if isinstance(piece, str)):
                    yield event("delta", DeltaOutput(text=text))
            elif ended:
                break
            else:
                yield PING
        if writer.error is not None:
            raise writer.error
        yield event("done", answer.body())
    except HungUp:
        return
    except ApiError as error:
        yield event("error", error_body(error, current_request_id()))
    finally:
        answer.cancel()
