"""Work in a separate process, which its deadline, its memory limit or a fault in its file may kill.

One process imports what the work needs (`edgechat.sandbox.fork_server`) and forks another for each job. A fork takes a
few milliseconds, shares the memory, and keeps nothing of one user's file when the next user's is read.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

import gevent.monkey
import structlog

from edgechat.errors import StoreUnavailable
from edgechat.processes.threads import waiting
from edgechat.sandbox.job_limit import JobLimit, OutOfTime
from edgechat.sandbox.messages import STREAM_BYTES, BadMessage, receive_message, send_message

logger = structlog.get_logger(__name__)

_PROJECT = Path(__file__).parents[2]
_READY = b"+"
_START_SECONDS = 30.0

_modules: list[str] = []
_server: _ForkServer | None = None


class JobFailed(Exception):
    """The job raised, was killed, or gave an invalid answer; the text says which, for the log."""


class Job:
    """The work of a module: its `run(arguments, *files)` returns an object that JSON can hold, and files (bytes).

    Its `prepare()` loads all that `run` needs. `memory` is the limit of one run, `max_bytes` that of its files
    together; `threads` says whether one of its libraries needs threads. Create jobs when their module is imported: the
    fork server loads the modules of all jobs that exist when the first job runs.
    """

    def __init__(self, module: str, *, limit: JobLimit, memory: int, max_bytes: int, threads: bool = False) -> None:
        self._module = module
        self._limit = limit
        self._memory = memory
        self._max_bytes = max_bytes
        self._threads = threads
        _modules.append(module)

    def run(
        self, arguments: dict[str, Any], *files: bytes, seconds: float, wait_seconds: float | None = None
    ) -> tuple[dict[str, Any], list[bytes]]:
        """The return value of `run`. A hostile file may have controlled it, so the caller must check it.

        The job may take `seconds`, including the wait for its permit unless `wait_seconds` limits that wait by itself.
        Raises OutOfTime, NotStarted, JobFailed, and StoreUnavailable where no process can be started.
        """
        until = time.monotonic() + seconds
        with waiting(), self._limit.permit(seconds if wait_seconds is None else wait_seconds):
            if wait_seconds is not None:
                until = time.monotonic() + seconds
            try:
                return self._run(arguments, files, until)
            except TimeoutError as error:
                raise OutOfTime from error

    def _run(
        self, arguments: dict[str, Any], files: Sequence[bytes], until: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        began = time.monotonic()
        sock, first = _new_process(until)
        with sock:
            if first:  # loading the modules takes about a second, which is no fault of the file
                until += time.monotonic() - began
            head = self._head(arguments, until)
            try:
                sock.settimeout(_left(until))
                send_message(sock, head, files)
                answer, made = receive_message(sock, max_bytes=self._max_bytes, until=until)
            except (BadMessage, ConnectionError) as error:
                _left(until)  # raises if the process was killed because its time was over
                raise JobFailed("ended") from error
        if not isinstance(answer.get("result"), dict):
            raise JobFailed(str(answer.get("failed"))[:100])
        return answer["result"], made

    def stream(
        self, arguments: dict[str, Any], file: IO[bytes], *, size: int, seconds: float
    ) -> Generator[tuple[dict[str, Any], bytes]]:
        """What the module's `stream(arguments, file)` yields: objects that JSON can hold, each with bytes.

        For a file of `size` bytes that is too large for memory: the process asks for the parts that it reads. It waits
        while an object is used. The `seconds` include these waits. Raises what `run` raises; closing the iterator kills
        the process.
        """
        until = time.monotonic() + seconds
        with ExitStack() as held:
            with waiting():
                held.enter_context(self._limit.permit(seconds))
                sock = held.enter_context(_new_process(until)[0])
            try:
                with waiting():
                    sock.settimeout(_left(until))
                    send_message(sock, {**self._head(arguments, until), "stream": size}, ())
                while True:
                    with waiting():
                        answer, made = self._next_object(sock, file, size, until)
                    if "result" in answer:
                        return
                    yield answer, b"".join(made)
            except (BadMessage, ConnectionError) as error:
                raise JobFailed("ended") from error
            except TimeoutError as error:
                raise OutOfTime from error

    def _next_object(
        self, sock: socket.socket, file: IO[bytes], size: int, until: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        while True:
            answer, made = receive_message(sock, max_bytes=self._max_bytes, until=until)
            if "failed" in answer:
                raise JobFailed(str(answer["failed"])[:100])
            if "read" not in answer:
                return answer, made
            offset = answer["read"]
            if type(offset) is not int or not 0 <= offset <= size:
                raise BadMessage
            file.seek(offset)
            sock.settimeout(_left(until))
            send_message(sock, {}, [file.read(STREAM_BYTES)])

    def _head(self, arguments: dict[str, Any], until: float) -> dict[str, Any]:
        return {
            "module": self._module,
            "arguments": arguments,
            "seconds": _left(until),
            "memory": self._memory,
            "threads": self._threads,
        }


def start_fork_server() -> None:
    """Start the fork server for this process and its forks. Otherwise each process starts one with its first job."""
    global _server
    _server = _ForkServer(_modules)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _new_process(until: float) -> tuple[socket.socket, bool]:
    """The connection to a process that waits for its job, and whether the wait may have been for the modules.

    Closing the connection kills the process.
    """
    global _server
    first = False
    for _ in range(2):
        try:
            if _server is None or not _server.lives():
                _server = _ForkServer(_modules)
            first = first or not _server.loaded
            ours, theirs = socket.socketpair()
        except OSError as error:
            logger.error("no_fork_server", reason=repr(error))
            break
        try:
            with theirs:
                _server.hand_over(theirs)
            ours.settimeout(_left(until) + (_START_SECONDS if first else 0))
            if ours.recv(1) == _READY:
                _server.loaded = True
                return ours, first
        except TimeoutError:
            ours.close()
            raise
        except OSError:
            pass
        ours.close()
    logger.error("no_process_for_a_job")
    raise StoreUnavailable


def _inherited() -> list[int]:
    """The descriptors that a new program would inherit besides its three standard ones."""
    descriptors = [int(name) for name in os.listdir("/dev/fd")]
    return [each for each in descriptors if each > 2 and _is_inheritable(each)]


def _is_inheritable(descriptor: int) -> bool:
    with suppress(OSError):  # the listing's own descriptor is closed
        return os.get_inheritable(descriptor)
    return False


class _ForkServer:
    loaded = False  # as far as this process knows: its workers inherit the fork server

    def __init__(self, modules: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        # Nothing of this process's environment, which holds the secrets.
        environment = {
            "PYTHONPATH": str(_PROJECT),
            "PYTHONSAFEPATH": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUTF8": "1",
            "PYTHONWARNINGS": "ignore",  # its standard error is the log of the web processes
        }
        for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
            if name in os.environ:
                environment[name] = os.environ[name]
        # gevent's version would watch the process with its own signal handler, in gunicorn's master too.
        spawn = gevent.monkey.get_original("os", "posix_spawn")
        with theirs:
            self._pid: int = spawn(
                sys.executable,
                [sys.executable, "-m", "edgechat.sandbox.fork_server", *modules],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, 2, 1),
                    # gunicorn's listening sockets: after a SIGKILL of all web processes no process may hold their port.
                    *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited()),
                ],
            )
        self._control = ours

    def lives(self) -> bool:
        try:
            alive = self._control.recv(1) != b""  # the server sends nothing: a read without data is its end
        except BlockingIOError:
            return True
        except OSError:
            alive = False
        if not alive:
            with suppress(OSError):  # only the parent may wait for it, which may be gunicorn's master
                os.waitpid(self._pid, os.WNOHANG)
        return alive

    def hand_over(self, sock: socket.socket) -> None:
        """Start a process that talks on this socket. Raises OSError."""
        socket.send_fds(self._control, [b"+"], [sock.fileno()])
