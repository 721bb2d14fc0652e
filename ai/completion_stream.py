"""An answer as server-sent events. It belongs to its connection: who hangs up ends the calls under it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import structlog
from django.db import OperationalError

from ai.answers import Answer, Progress
from ai.call_control import CallCancelled
from edgechat.errors import ApiError, StoreUnavailable, error_body
from edgechat.event_stream import PING, PING_SECONDS, event
from edgechat.logs import current_request_id
from edgechat.threads import end_work, release_database, start_thread

logger = structlog.get_logger(__name__)

# While the model says nothing, the client is looked at so often.
LOOK_SECONDS = 1.0


def stream_completion(answer: Answer, has_hung_up: Callable[[], bool]) -> Iterator[bytes]:
    """`progress` events where there are any, `delta` events, then `done` with the answer's body, or `error`.

    Waits for the first of them, for one ping's time at most, so that what fails before it is raised here and becomes
    an ordinary answer.
    """
    release_database()
    end_work()
    writer = _Writer(answer)
    pieces, ended = writer.beyond(0, timeout=PING_SECONDS)
    if ended and not pieces and writer.error is not None:
        raise writer.error
    return _events(answer, writer, has_hung_up)


class _Writer:
    """Makes the answer in a thread of its own, so that a silent model does not keep the connection from its pings."""

    def __init__(self, answer: Answer) -> None:
        self.error: ApiError | None = None
        self._pieces: list[str | Progress] = []
        self._ended = False
        self._changed = threading.Condition()
        start_thread(self._run, answer)

    def beyond(self, told: int, *, timeout: float) -> tuple[list[str | Progress], bool]:
        """The pieces after the first `told`, as soon as there are any, and whether there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._pieces) > told, timeout)
            return self._pieces[told:], self._ended

    def _run(self, answer: Answer) -> None:
        try:
            for piece in answer.pieces():
                with self._changed:
                    self._pieces.append(piece)
                    self._changed.notify_all()
        except ApiError as error:
            self.error = error
        except CallCancelled:
            self.error = ApiError()  # nobody is there to read it
        except OperationalError:
            self.error = StoreUnavailable()
        except Exception:
            logger.exception("completion_failed")
            self.error = ApiError()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()


def _events(answer: Answer, writer: _Writer, has_hung_up: Callable[[], bool]) -> Iterator[bytes]:
    told = 0
    pinged = time.monotonic()
    try:
        while True:
            until_ping = max(0.0, pinged + PING_SECONDS - time.monotonic())
            pieces, ended = writer.beyond(told, timeout=min(until_ping, LOOK_SECONDS))
            if pieces:
                told += len(pieces)
                for piece in pieces:
                    if isinstance(piece, Progress):
                        yield event("progress", asdict(piece))
                if text := "".join(piece for piece in pieces if isinstance(piece, str)):
                    yield event("delta", {"text": text})
            elif ended:
                break
            elif has_hung_up():
                return
            elif until_ping > LOOK_SECONDS:
                continue
            else:
                yield PING
            pinged = time.monotonic()
        if writer.error is not None:
            yield event("error", error_body(writer.error, current_request_id()))
        else:
            yield event("done", answer.body())
    finally:
        answer.cancel()
