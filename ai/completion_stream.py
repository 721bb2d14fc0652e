"""A completion as server-sent events. It belongs to its connection: who hangs up ends the call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from django.db import OperationalError

from ai.call_control import CallCancelled
from ai.metered_call import MeteredCall
from ai.services import Completion, finished
from edgechat.errors import ApiError, StoreUnavailable, error_body
from edgechat.event_stream import PING, PING_SECONDS, event
from edgechat.logs import current_request_id
from edgechat.text_feed import TextFeed
from edgechat.threads import start_thread

logger = structlog.get_logger(__name__)


def stream_completion(
    call: MeteredCall, *, body: Callable[[Completion], dict[str, Any]] = Completion.as_body
) -> Iterator[bytes]:
    """`delta` events, then `done` with the completion as `body` makes it, or `error`.

    Waits for the first words, for one ping's time at most, so that what fails before them is raised here and becomes
    an ordinary answer.
    """
    writer = _Writer(call)
    state = writer.feed.wait_beyond(1, 0, timeout=PING_SECONDS)
    if state.ended and not state.text and writer.error is not None:
        raise writer.error
    return _events(call, writer, body)


class _Writer:
    """Makes the call in a thread of its own, so that a silent model does not keep the connection from its pings."""

    def __init__(self, call: MeteredCall) -> None:
        self.feed = TextFeed()
        self.error: ApiError | None = None
        start_thread(self._run, call)

    def _run(self, call: MeteredCall) -> None:
        try:
            for text in call.texts():
                self.feed.append(text)
            finished(call)
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
            self.feed.end()


def _events(call: MeteredCall, writer: _Writer, body: Callable[[Completion], dict[str, Any]]) -> Iterator[bytes]:
    told = 0
    pinged = time.monotonic()
    try:
        while True:
            timeout = max(0.0, pinged + PING_SECONDS - time.monotonic())
            state = writer.feed.wait_beyond(1, told, timeout=timeout)
            if len(state.text) > told:
                yield event("delta", {"text": state.text[told:]})
                told, pinged = len(state.text), time.monotonic()
            elif state.ended:
                break
            else:
                yield PING
                pinged = time.monotonic()
        if writer.error is not None:
            yield event("error", error_body(writer.error, current_request_id()))
        else:
            yield event("done", body(finished(call)))
    finally:
        call.control.cancel()
