"""`python -m edgechat.sandbox.fork_server MODULE ...`: imports the modules once, then forks a process for each job.

It imports them with the first job, or after a minute without one.

Its stdin is a Unix socket. A byte with a descriptor on it asks for a process that talks on that descriptor. When the
other end of the descriptor is closed, the process is killed. When no process holds the socket any more, the server and
all its jobs end. The server itself reads no byte of a job.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Container, Sequence
from typing import Any, NoReturn

from edgechat.sandbox.limits import adopt_orphans, confine, limit_job
from edgechat.sandbox.messages import STREAM_BYTES, receive_message, send_message

READY = b"+"
_NICE = 5
_MAX_JOB_BYTES = 64 * 1024 * 1024
_RECEIVE_SECONDS = 60.0
_QUIET_SECONDS = 60


def main(modules: Sequence[str]) -> None:
    # The server must not keep the web process's descriptors, such as its listening socket, nor react to Ctrl-C.
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 1_000_000))
    os.setpgid(0, 0)
    adopt_orphans()
    with socket.socket(fileno=os.dup(0)) as control:
        if not _wait_for_work(control):
            return
        gc.disable()  # what is imported is no garbage
        for name in modules:
            importlib.import_module(name).prepare()
        gc.freeze()
        gc.enable()
        _serve(control)


def _wait_for_work(control: socket.socket) -> bool:
    """Leave the CPU to the start of the web processes. False when the last of them has ended."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    return not any(event & select.POLLHUP for _, event in poll.poll(_QUIET_SECONDS * 1000))


def _serve(control: socket.socket) -> None:
    awake, waker = socket.socketpair()
    for sock in (awake, waker):
        sock.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(awake, select.POLLIN)
    children: dict[int, socket.socket] = {}  # by process id
    watched: dict[int, int] = {}  # process ids by the descriptors of their sockets
    own_pid = os.getpid()
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == control.fileno():
                data, received, _, _ = socket.recv_fds(control, 1, 1)
                if not data:
                    for pid in children:
                        os.kill(pid, signal.SIGKILL)
                    return
                sock = socket.socket(fileno=received[0])
                try:
                    pid = os.fork()
                except OSError:  # the web process notices the closed connection
                    sock.close()
                    continue
                if pid == 0:
                    _run_child(sock, parent=own_pid)
                children[pid] = sock
                watched[sock.fileno()] = pid
                # With an empty mask poll reports only that the other end was closed.
                poll.register(sock, 0)
            elif descriptor == awake.fileno():
                _drain(awake)
                for pid in _ended() & children.keys():
                    sock = children.pop(pid)
                    if watched.pop(sock.fileno(), None):
                        poll.unregister(sock)
                    sock.close()
                _kill_strays(children)
            elif descriptor in watched:
                os.kill(watched.pop(descriptor), signal.SIGKILL)
                poll.unregister(descriptor)


def _drain(sock: socket.socket) -> None:
    try:
        while sock.recv(4096):
            pass
    except BlockingIOError:
        pass


def _ended() -> set[int]:
    ended = set()
    try:
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            ended.add(pid)
    except ChildProcessError:
        pass
    return ended


def _kill_strays(known: Container[int]) -> None:
    """End processes that an ended job has left behind: the server is now their parent (Linux)."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            pids = [int(pid) for pid in file.read().split()]
    except OSError:
        return
    for pid in pids:
        if pid not in known:
            os.kill(pid, signal.SIGKILL)


def _run_child(sock: socket.socket, *, parent: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        own = os.dup2(sock.fileno(), 3) if sock.fileno() != 3 else 3
        sock.detach()
        os.closerange(4, min(os.sysconf("SC_OPEN_MAX"), 1_000_000))
        # The web processes have priority.
        os.nice(_NICE)
        confine(parent=parent)
        _work(socket.socket(fileno=own))
    finally:
        os._exit(0)


def _work(sock: socket.socket) -> None:
    signal.setitimer(signal.ITIMER_REAL, _RECEIVE_SECONDS)
    sock.setblocking(True)  # gevent's sockets do not block, and both ends of the pair share that flag
    sock.sendall(READY)
    head, files = receive_message(sock, max_bytes=_MAX_JOB_BYTES)
    limit_job(seconds=head["seconds"], memory=head["memory"], threads=head["threads"])
    module = importlib.import_module(head["module"])
    answer: dict[str, Any]
    try:
        if (size := head.get("stream")) is not None:
            for told, data in module.stream(head["arguments"], io.BufferedReader(_Parts(sock, size), STREAM_BYTES)):
                send_message(sock, told, [data])
            result, made = {}, []
        else:
            result, made = module.run(head["arguments"], *files)
        answer = {"result": result}
    except BaseException as error:  # broken files raise anything, including MemoryError and RecursionError
        answer, made = {"failed": type(error).__name__}, []
    send_message(sock, answer, made)


class _Parts(io.RawIOBase):
    """The file of a streaming job: each read asks the other end for the next part."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        self._sock, self._size, self._at = sock, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = min(max(0, start + offset), self._size)
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size:
            return 0
        send_message(self._sock, {"read": self._at}, ())
        _, [data] = receive_message(self._sock, max_bytes=STREAM_BYTES)
        data = data[: len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _log_failure(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """In place of a traceback: standard error is the log of the web processes, which has one JSON object per line."""
    line = {"event": "fork_server_failed", "level": "error", "logger": __name__, "reason": repr(error)}
    sys.stderr.write(f"{json.dumps(line)}\n")


if __name__ == "__main__":
    sys.excepthook = _log_failure
    main(sys.argv[1:])
