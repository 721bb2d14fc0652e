"""A lean HTTP load generator: `python -m bench.load`, a job as JSON on stdin, its result as JSON on stdout.

It shares the machine with the servers that it measures, so it runs in a process of its own, with the standard library
only: it sends prepared bytes, and reads only the status and the length of an answer.
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import statistics
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_END_OF_HEADERS = b"\r\n\r\n"
_DELTA = b"event: delta"
_LAST_CHUNK = b"0\r\n\r\n"
_FAILURES_SHOWN = 3
_WITHOUT_BODY = (204, 304)


@dataclass(frozen=True)
class Job:
    """What to send. `requests` are whole HTTP requests in ASCII.

    Each connection has its own requests (every `connections`-th), so no two requests in progress are the same. With
    `seconds` the connections repeat them for that time and stay open between them; without it, all requests are sent
    once, at the same time. An answer is good if it has the status `expect` and, if given, contains the text `contains`.
    """

    host: str
    port: int
    requests: list[str]
    connections: int
    seconds: float | None = None
    expect: int = 200
    contains: str = ""
    attached: list[str] = field(default_factory=list)  # files that end the requests, each in its turn
    deltas: bool = False  # note when the events of streams arrive
    patience: float = 180.0  # seconds after the end of `seconds` until requests in progress are abandoned


@dataclass(frozen=True)
class Result:
    """The result of a job. `seconds` is the window, or the time to the last answer. Latencies are in milliseconds.

    `answered` counts the good answers in the window, `finished` those after it too: all that the servers worked for.
    `failures` counts by kind (a status, `reset`, `timeout`, `content`), and `samples` shows the first of them.
    `cpu_seconds` is the generator's own CPU time.
    """

    answered: int
    finished: int
    seconds: float
    p50: float
    p95: float
    p99: float
    cpu_seconds: float
    failures: dict[str, int]
    samples: list[str]
    # Of each answer of a job with `deltas`: when it was requested, and when each `delta` event came (epoch s).
    deltas: list[list[float]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return self.answered / self.seconds

    @property
    def errors(self) -> int:
        return sum(self.failures.values())


@dataclass(eq=False)
class _Connection:
    requests: list[bytes]
    sent: int = 0
    socket: socket.socket | None = None
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    answer: bytearray = field(default_factory=bytearray)
    began: float = 0.0
    writing: bool = False
    deltas: list[list[float]] = field(default_factory=list)
    scanned: int = 0


class _Generator:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._selector = selectors.DefaultSelector()
        self._contains = job.contains.encode()
        self._latencies: list[float] = []
        self._failures: Counter[str] = Counter()
        self._samples: list[str] = []
        self._in_progress = 0
        self._finished = 0
        self._window_ends = 0.0
        self._last_answer = 0.0

    def run(self) -> Result:
        job = self._job
        files = [Path(name).read_bytes() for name in job.attached] or [b""]
        requests = [request.encode("ascii") + files[number % len(files)] for number, request in enumerate(job.requests)]
        connections = [_Connection(requests[index :: job.connections]) for index in range(job.connections)]
        cpu_before = _cpu_seconds()
        began = time.perf_counter()
        self._window_ends = began + (job.seconds or 0.0)
        for connection in connections:
            self._send_next(connection)
        deadline = self._window_ends + job.patience
        while self._in_progress:
            left = deadline - time.perf_counter()
            if left <= 0:
                self._failures["timeout"] += self._in_progress
                break
            for key, events in self._selector.select(left):
                self._serve(key.data, events)
        seconds = job.seconds or (self._last_answer or time.perf_counter()) - began
        cpu_seconds = _cpu_seconds() - cpu_before
        measured = self._latencies if len(self._latencies) > 1 else [*self._latencies, *self._latencies] or [0.0, 0.0]
        quantiles = statistics.quantiles(measured, n=100)
        return Result(
            answered=len(self._latencies),
            finished=self._finished,
            seconds=seconds,
            p50=quantiles[49] * 1000,
            p95=quantiles[94] * 1000,
            p99=quantiles[98] * 1000,
            cpu_seconds=cpu_seconds,
            failures=dict(self._failures),
            samples=self._samples,
            deltas=[each for connection in connections for each in connection.deltas] if job.deltas else [],
        )

    def _send_next(self, connection: _Connection) -> None:
        """Send the connection's next request, if this job has one."""
        if self._job.seconds is None:
            if connection.sent == len(connection.requests):
                self._disconnect(connection)
                return
        elif time.perf_counter() >= self._window_ends:
            self._disconnect(connection)
            return
        request = connection.requests[connection.sent % len(connection.requests)]
        connection.sent += 1
        connection.answer.clear()
        connection.began = time.perf_counter()
        connection.deltas.append([time.time()])
        connection.scanned = 0
        self._in_progress += 1
        if connection.socket is None:
            self._connect(connection)
            connection.unsent = memoryview(request)
            return
        try:
            count = connection.socket.send(request)
        except OSError as error:
            self._fail(connection, "reset", repr(error))
            return
        connection.unsent = memoryview(request)[count:]
        if connection.unsent:
            self._watch(connection, writing=True)

    def _connect(self, connection: _Connection) -> None:
        connection.socket = socket.socket()
        connection.socket.setblocking(False)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket.connect_ex((self._job.host, self._job.port))
        self._selector.register(connection.socket, selectors.EVENT_WRITE, connection)
        connection.writing = True

    def _disconnect(self, connection: _Connection) -> None:
        if connection.socket is not None:
            self._selector.unregister(connection.socket)
            connection.socket.close()
            connection.socket = None

    def _watch(self, connection: _Connection, *, writing: bool) -> None:
        if connection.socket is not None and connection.writing != writing:
            events = selectors.EVENT_WRITE if writing else selectors.EVENT_READ
            self._selector.modify(connection.socket, events, connection)
            connection.writing = writing

    def _serve(self, connection: _Connection, events: int) -> None:
        if connection.socket is None:
            return
        try:
            if events & selectors.EVENT_WRITE:
                connection.unsent = connection.unsent[connection.socket.send(connection.unsent) :]
                if not connection.unsent:
                    self._watch(connection, writing=False)
                return
            data = connection.socket.recv(262_144)
        except OSError as error:
            self._fail(connection, "reset", repr(error))
            return
        if not data:
            self._fail(connection, "reset", "closed before the answer was complete")
            return
        connection.answer += data
        if self._job.deltas:
            count = connection.answer.count(_DELTA, connection.scanned)
            connection.deltas[-1] += [time.time()] * count
            # The overlap is too short for a whole marker, so none is counted twice.
            connection.scanned = max(0, len(connection.answer) - len(_DELTA) + 1)
        headers_end = connection.answer.find(_END_OF_HEADERS)
        if headers_end >= 0:
            headers = bytes(connection.answer[:headers_end]).lower()
            if _is_complete(headers, connection.answer, headers_end + 4):
                self._take(connection, headers)

    def _take(self, connection: _Connection, headers: bytes) -> None:
        now = time.perf_counter()
        status = int(headers[9:12])
        answer = connection.answer
        if status != self._job.expect or (self._contains and self._contains not in answer):
            kind = "content" if status == self._job.expect else str(status)
            body = bytes(answer[len(headers) + len(_END_OF_HEADERS) :])
            self._note(kind, body[:400].decode("utf-8", "replace"))
        else:
            self._finished += 1
            if self._job.seconds is None or now <= self._window_ends:
                self._latencies.append(now - connection.began)
        self._last_answer = now
        self._in_progress -= 1
        if b"connection: close" in headers:
            self._disconnect(connection)
        self._send_next(connection)

    def _fail(self, connection: _Connection, kind: str, text: str) -> None:
        self._note(kind, text)
        self._in_progress -= 1
        self._disconnect(connection)
        self._send_next(connection)

    def _note(self, kind: str, text: str) -> None:
        self._failures[kind] += 1
        if len(self._samples) < _FAILURES_SHOWN:
            self._samples.append(f"{kind}: {text}")


def _is_complete(headers: bytes, answer: bytearray, body_start: int) -> bool:
    length_at = headers.find(b"\r\ncontent-length:")
    if length_at >= 0:
        length = int(headers[length_at + 17 :].partition(b"\r\n")[0])
        return len(answer) - body_start >= length
    if b"transfer-encoding: chunked" in headers:
        return answer.endswith(_LAST_CHUNK, body_start)
    return int(headers[9:12]) in _WITHOUT_BODY


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _main() -> None:
    job: dict[str, Any] = json.load(sys.stdin)
    json.dump(asdict(_Generator(Job(**job)).run()), sys.stdout)


if __name__ == "__main__":
    _main()
