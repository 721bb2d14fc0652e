"""Open calls: event streams, exports and slow answers, which outlive the check of their access token.

The end of a session, an account or a membership also ends its open calls. Each process keeps a registry of its open
calls and checks them against PostgreSQL in one query: the calls that a notice names immediately, and all calls every
CHECK_SECONDS in case Redis was down. While PostgreSQL is down, open calls continue. An expired access token ends
nothing, because its session is still live.
"""

from __future__ import annotations

import itertools
import select
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import gevent.monkey
import structlog
from django.db import OperationalError
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts.login.sessions import SessionEnded
from accounts.models import ApiKey, Session
from accounts.open_calls.endings import EVERYBODY, conversation_subject, organization_subject, user_subject
from accounts.open_calls.slots import take_slot
from accounts.requests import AuthenticatedRequest
from accounts.staff.sessions import session_of
from edgechat.errors import ApiError, StoreUnavailable
from edgechat.http import notices
from edgechat.http.event_stream import ClosingBody, event_stream_response
from edgechat.http.request_metrics import begin_long, measure_end, measure_first_event
from edgechat.http.request_state import state_of
from edgechat.processes.threads import EXITS, start_thread, waiting
from edgechat.stores import store_time

logger = structlog.get_logger(__name__)

CHECK_SECONDS = 5.0
HANG_UP_SECONDS = 0.5
# How long a notice is kept for a call whose token was checked before the notice and that opens after it.
REMEMBER_SECONDS = 600.0

T = TypeVar("T")


class HungUp(ApiError):
    """The client appears to be gone: it has closed its side of the connection. Proxies log the same status."""

    status, code, detail = 499, "client_closed_request", "The client closed the connection"


@dataclass(frozen=True)
class Reading:
    """A conversation that a call reads.

    `organization_id`: the organization that shares it with the caller, None for the caller's own.
    """

    owner_id: int
    conversation_id: str
    organization_id: int | None


class OpenCall:
    """A call that ends early when the caller loses access.

    `session_id` is the id of a session or of an API key. The end of the `with` block closes the call unless `keep` was
    called.
    """

    def __init__(self, *, user_id: int, session_id: UUID, since: float, connection: Any = None) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.since = since
        self.connection = connection
        self.reading: Reading | None = None
        self.on_close: list[Callable[[], object]] = []
        self.on_first_event: Callable[[], object] = lambda: None
        self._end: ApiError | None = None
        self._wakers: list[Callable[[], object]] = []
        self._kept = False

    @property
    def subjects(self) -> set[str]:
        """The digests by which a notice names this call."""
        found = {EVERYBODY, user_subject(self.user_id)}
        if self.reading is not None:
            found.add(conversation_subject(self.reading.conversation_id))
            if self.reading.organization_id is not None:
                found.add(organization_subject(self.reading.organization_id))
        return {notices.digest(subject) for subject in found}

    def is_over(self) -> bool:
        return self._end is not None

    @property
    def hung_up(self) -> bool:
        """Whether the call ended because its client is gone."""
        return isinstance(self._end, HungUp)

    def raise_if_over(self) -> None:
        """Raises the error that ended the call."""
        if self._end is not None:
            raise self._end

    def end(self, reason: ApiError) -> None:
        """End the call. Any thread may do so; the first reason counts."""
        if self._end is None:
            self._end = reason
            for wake in list(self._wakers):
                wake()

    def on_end(self, stop: Callable[[], object]) -> None:
        """Call `stop` when the call ends, or immediately if it has ended. `stop` may be called twice."""
        self._wakers.append(stop)
        if self.is_over():
            stop()

    def reads(self, reading: Reading) -> None:
        """Make the call depend on this conversation too."""
        _forget(self)
        self.reading = reading
        _remember(self)

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Call `wake` if the call ends during this block."""
        self._wakers.append(wake)
        try:
            yield
        finally:
            self._wakers.remove(wake)

    def run(self, function: Callable[[], T]) -> T:
        """Run a function in its own thread and return or raise its result; raises the reason if the call ends first.

        In that case the thread is not joined: an `on_end` callback has to stop it.
        """
        outcome: list[Callable[[], T]] = []
        changed = threading.Event()
        deadline = store_time.deadline()

        def work() -> None:
            store_time.share_deadline(deadline)
            try:
                # A caller waits, so this is no background work, whose waits for stores may be longer.
                with store_time.at_most(store_time.request_seconds()):
                    result = function()
                outcome.append(lambda: result)
            except BaseException as error:
                outcome.append(partial(_raise, error))
            finally:
                changed.set()

        with waiting(), self.waking(changed.set):
            if not self.is_over():
                start_thread(work)
                changed.wait()
        self.raise_if_over()
        return outcome[0]()

    def body(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """A response body that breaks off when the call ends, and that closes the call.

        Reads the first chunk, because an error can only be answered in its shape before the body begins.
        """
        body = _Body(self, iter(chunks))
        self.keep()
        return body

    def stream(self, events: Iterable[bytes], *, reconnect: bool = True) -> HttpResponseBase:
        """The response that sends these events, and then closes the call."""
        self.keep()
        return event_stream_response(events, on_first=self.on_first_event, on_close=self.close, reconnect=reconnect)

    def keep(self) -> None:
        """Keep the call open after the block. The caller of this method has to close it."""
        self._kept = True

    def close(self) -> None:
        _forget(self)
        while self.on_close:
            self.on_close.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept or error is not None:
            self.close()


class _Body(ClosingBody):
    def __init__(self, call: OpenCall, chunks: Iterator[bytes]) -> None:
        super().__init__(chunks, call.close)
        self._call = call
        self._first = next(chunks, b"")

    def __iter__(self) -> Iterator[bytes]:
        for chunk in itertools.chain((self._first,), self._chunks):
            self._call.raise_if_over()
            yield chunk


def open_call(request: AuthenticatedRequest, *, events: bool = False, reply: bool = False) -> OpenCall:
    """Register a call that stays open: an event stream if `events`, a reply for this call alone if `reply`.

    Event streams and such replies end when their clients close the connection. A stream counts towards
    MAX_STREAMS_PER_USER, a reply towards MAX_REPLIES_PER_USER. Raises TooManyReplies and HungUp.
    """
    user_id, http = request.user.pk, request._request
    call = OpenCall(
        user_id=user_id,
        session_id=request.auth.pk,
        since=state_of(http).authenticated_at,
        connection=request.META.get("gunicorn.socket") if events or reply else None,
    )
    try:
        if reply:
            # The request may have waited in the queue for a long time, and a call to the model costs money.
            _end_hung_up([call])
            call.raise_if_over()
        if events:
            call.on_close.append(take_slot("streams", user_id).release)
        if reply:
            call.on_close.append(take_slot("replies", user_id).release)
    except BaseException:
        call.close()
        raise
    _remember(call)
    begin_long(http)
    call.on_close.append(partial(measure_end, http, streamed=events))
    call.on_first_event = partial(measure_first_event, http)
    return call


# The open calls by the digests of their subjects.
_all = notices.digest(EVERYBODY)
_calls: dict[str, set[OpenCall]] = {_all: set()}
_ended_at: dict[str, float] = {}
_remembered_since = 0.0
_due: set[OpenCall] = set()
_looking = False
_lock = threading.Lock()

EndUnreadable = Callable[[list[OpenCall]], None]
_end_unreadable: list[EndUnreadable] = []


def register_reading_check(end_unreadable: EndUnreadable) -> None:
    """Register `end_unreadable(calls)`.

    It ends the calls whose conversation is deleted or no longer readable to the caller.
    """
    _end_unreadable.append(end_unreadable)


def hear_ended(subjects: Collection[str]) -> None:
    """The listener for the notices of `accounts.open_calls.endings.announce_end`."""
    global _remembered_since
    now = time.monotonic()
    with _lock:
        if now - _remembered_since > REMEMBER_SECONDS:
            _ended_at.clear()
            _remembered_since = now
        _ended_at.update(dict.fromkeys(subjects, now))
        named = set().union(*(_calls.get(subject, ()) for subject in subjects))
    _look_at(named)


def check_open_calls() -> None:
    """Check all open calls. Runs every CHECK_SECONDS."""
    with _lock:
        calls = list(_calls[_all])
    if calls:
        _end_what_is_over(calls)


def notice_hang_ups() -> None:
    """End the calls whose clients have closed the connection. Runs every HANG_UP_SECONDS."""
    with _lock:
        calls = list(_calls[_all])
    _end_hung_up(calls)


def _end_hung_up(calls: Collection[OpenCall]) -> None:
    """End the calls whose clients have closed their connections, with one system call for all of them.

    A write detects a closed connection only the second time, and pings are rare. A client that has shut down only its
    own half of the connection also counts as gone: the two cases look the same until the server writes. No HTTP client
    does this (RFC 1945, 1.3: a close by either party ends the request; RFC 9112 keeps half-closing for servers), and
    nginx, Go and asyncio behave in the same way. Only calls that pass their connection end here; other requests are not
    affected.
    """
    poll = gevent.monkey.get_original("select", "poll")()  # gevent's version polls for data only
    by_file: dict[int, OpenCall] = {}
    for call in calls:
        if call.connection is not None and (file := call.connection.fileno()) >= 0:
            by_file[file] = call
            poll.register(file, getattr(select, "POLLRDHUP", 0))
    for file, _ in poll.poll(0):
        by_file[file].end(HungUp())


def open_staff_call(request: HttpRequest) -> OpenCall:
    """Register a call in the admin, which ends with its admin session. Raises SessionEnded."""
    session = session_of(request)
    if session is None:
        raise SessionEnded
    # The session was checked after the request had arrived.
    call = OpenCall(user_id=session.user_id, session_id=session.pk, since=state_of(request).began_at)
    _remember(call)
    return call


# --- The calls that are open in this process ----------------------------------------------------------------------


def _remember(call: OpenCall) -> None:
    with _lock:
        for subject in call.subjects:
            _calls.setdefault(subject, set()).add(call)
        # The session, the account or a membership may have ended since the token was checked.
        missed = call.since < _remembered_since or any(
            _ended_at.get(subject, -1.0) >= call.since for subject in call.subjects
        )
    if missed:
        _look_at({call})


def _forget(call: OpenCall) -> None:
    with _lock:
        for subject in call.subjects:
            known = _calls.get(subject)
            if known is not None:
                known.discard(call)
                if not known and subject != _all:
                    del _calls[subject]


def _look_at(calls: set[OpenCall]) -> None:
    """Check these calls in a thread. One thread handles everything that is queued while it runs."""
    global _looking
    with _lock:
        _due.update(calls)
        if _looking or not _due:
            return
        _looking = True
    start_thread(_look_at_due)


def _look_at_due() -> None:
    global _looking
    while True:
        with _lock:
            due = list(_due)
            _due.clear()
            if not due:
                _looking = False
                return
        try:
            _end_what_is_over(due)
        except (OperationalError, StoreUnavailable) as error:
            logger.warning("open_calls_not_checked", reason=type(error).__name__)
        except EXITS:
            with _lock:
                _looking = False
            raise
        except BaseException:  # the next calls have to be checked whatever the error is
            logger.exception("open_calls_not_checked")


def _end_what_is_over(calls: list[OpenCall]) -> None:
    named = {call.session_id for call in calls}
    sessions = Session.objects.filter(pk__in=named, ended_at=None, user__is_active=True)
    live = set(sessions.exclude(kind=Session.Kind.ADMIN, user__is_staff=False).values_list("pk", flat=True))
    if rest := named - live:
        keys = ApiKey.objects.live().filter(pk__in=rest, user__is_active=True)
        live.update(keys.values_list("pk", flat=True))
    for call in calls:
        if call.session_id not in live:
            call.end(SessionEnded())
    reading = [call for call in calls if call.reading is not None and not call.is_over()]
    for end_unreadable in _end_unreadable if reading else ():
        end_unreadable(reading)


def _raise(error: BaseException) -> Any:
    raise error
