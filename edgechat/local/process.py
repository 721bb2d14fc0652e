"""Child processes that end with their parent, write to a log, and are stopped or killed with all their descendants."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

_CHILD_PROGRAM = Path(__file__).parents[1] / "processes" / "child.py"
_LOG_BYTES_KEPT = 5_000_000


class LocalError(Exception):
    """Something on this machine keeps a part from starting. The text names it and what to do about it."""


@dataclass(frozen=True)
class Identity:
    """The user and group that a child runs as."""

    uid: int
    gid: int


# One thread, which ends only with this process, starts all children: Linux sends the death signal when the *thread*
# that started the child ends.
_spawner = ThreadPoolExecutor(1, thread_name_prefix="local-spawner")


class ChildProcess:
    """A running child in its own session (Ctrl-C in the terminal does not reach it), with its output in `log_path`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        identity: Identity | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Start `command` (its first word is a path). The child gets `death_signal` when this process dies (Linux)."""
        self.log_path = log_path
        if log_path.exists() and log_path.stat().st_size > _LOG_BYTES_KEPT:
            log_path.replace(log_path.with_suffix(".log.1"))
        uid, gid = ("-", "-") if identity is None else (str(identity.uid), str(identity.gid))
        start = [sys.executable, "-I", "-S", str(_CHILD_PROGRAM), str(int(death_signal)), str(os.getpid()), uid, gid]
        with log_path.open("ab") as log:
            os.fchmod(log.fileno(), 0o600)
            self._log_start = log.tell()
            self._popen = _spawner.submit(
                subprocess.Popen,
                [*start, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=None if env is None else dict(env),
                start_new_session=True,
            ).result()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_code(self) -> int | None:
        """The exit code (negative: the signal's number), or None while the child runs."""
        return self._popen.poll()

    def wait(self, seconds: float) -> int | None:
        """Wait for the end of the child. None when it still runs after `seconds`."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def log_text(self) -> str:
        """The child's output since its start."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode("utf-8", "replace")

    def descendants(self) -> list[psutil.Process]:
        """All living descendants, parents before children."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stop(self, stop_signal: signal.Signals, seconds: float) -> bool:
        """Ask the child to end, and kill it after `seconds`. False when it had to be killed."""
        if self.exit_code() is None:
            self._popen.send_signal(stop_signal)
            if self.wait(seconds) is None:
                self.kill()
                return False
        return True

    def kill(self) -> None:
        """Send SIGKILL to the child and all its descendants; return when all of them are gone."""
        below = self.descendants()
        self._popen.kill()
        for process in below:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._popen.wait()
        wait_until(lambda: not any(lives(process) for process in below), seconds=10)


def lives(process: psutil.Process) -> bool:
    """False for an ended process, even before its parent has reaped it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], *, seconds: float, poll_seconds: float = 0.02) -> bool:
    """Poll `condition` until it holds. False when it did not hold within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_seconds)
    return True
