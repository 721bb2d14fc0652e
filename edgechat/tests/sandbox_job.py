"""What `test_sandbox` makes a process of the sandbox do."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any


def prepare() -> None:
    pass


def run(arguments: dict[str, Any], *files: bytes) -> tuple[dict[str, Any], list[bytes]]:
    made: tuple[dict[str, Any], list[bytes]] = globals()[arguments["do"]](arguments, *files)
    return made


def echo(arguments: dict[str, Any], *files: bytes) -> tuple[dict[str, Any], list[bytes]]:
    return arguments, list(files)


def process(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """The identity and the resources of the process."""
    own = Path("/proc/self/fd")
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "environment": dict(os.environ),
        "descriptors": sorted(int(entry.name) for entry in own.iterdir() if entry.exists()),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "processes": resource.getrlimit(resource.RLIMIT_NPROC),
        "modules": [name for name in ("django", "structlog", "gevent", "edgechat.settings") if name in sys.modules],
    }, []


def hold_the_interpreter(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Run for minutes in one call of C."""
    re.match("(a*)*b", "a" * 100)
    return {}, []


def ignore_the_clock(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Ignore the deadline, like a process that a file controls."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(600)
    return {}, []


def take_memory(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    return {"bytes": len(bytearray(arguments["bytes"]))}, []


def die(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    os.kill(os.getpid(), arguments["signal"])
    return {}, []


def write_a_file(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    Path(arguments["path"]).write_bytes(b"x" * 100_000)
    return {}, []


def raise_in_depth(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    return raise_in_depth(arguments)


def exit_early(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    sys.exit(0)


def begin_as_nobody(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Start another process and another thread, as a user other than root."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    begun = {"process": True, "thread": True}
    try:
        if os.fork() == 0:
            os._exit(0)
    except OSError:
        begun["process"] = False
    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        begun["thread"] = False
    return begun, []


def leave_others(arguments: dict[str, Any], *files: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Start a process that starts another one, each in its own session and ignoring signals; then end."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
        os.write(writer, f"{os.getpid()} ".encode())
        os.close(3)
        while True:
            time.sleep(1)
    told = ""
    while told.count(" ") < 2:
        told += os.read(reader, 100).decode()
    return {"pids": [int(pid) for pid in told.split()]}, []


def close_and_go_on(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    os.close(3)
    time.sleep(600)
    return {}, []


def say(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Send any bytes, like a hostile process, on the socket for the answer."""
    with socket.socket(fileno=3) as sock:
        data = bytes.fromhex(arguments["hex"])
        sock.sendall(struct.pack(">I", arguments.get("length", len(data))) + data * arguments.get("times", 1))
    os._exit(0)
