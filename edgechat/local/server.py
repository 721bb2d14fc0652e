"""What all embedded servers have in common: a folder, a log, a free port, start, stop, kill and a check of health."""

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from edgechat.local.ports import HOST, free_port, listens
from edgechat.local.process import ChildProcess, Identity, LocalError

_PORT_TAKEN = ("ddress already in use", "ddress in use", "onnection in use")
_PORT_ATTEMPTS = 5
_LOG_LINES_SHOWN = 5


class Server(ABC):
    """One embedded server. It keeps its port over stop, kill and start, so that URLs handed out stay right."""

    label: str
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL
    start_seconds: float = 60.0
    stop_seconds: float = 20.0
    # What `check` raises while the server is not ready.
    not_ready: ClassVar[tuple[type[Exception], ...]] = (OSError, LocalError)
    # What the log says while a former server on the same folder, killed a moment ago, has not let go of it yet.
    still_held: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, data_dir: Path, *, port: int | None = None) -> None:
        """`name` is the folder's and the log's name below `data_dir`; without `port` a free one is chosen."""
        self.name = name
        self.folder = data_dir / name
        self.log_path = data_dir / "log" / f"{name}.log"
        self.version = ""
        self._port = port
        self._port_is_kept = port is not None
        self._child: ChildProcess | None = None
        self._stopped = threading.Event()

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises LocalError before the first start.
        """
        if self._port is None:
            raise LocalError(f"{self.label} was not started yet.")
        return self._port

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The main process's id; of the last one when it does not run.

        Raises LocalError before the first start.
        """
        if self._child is None:
            raise LocalError(f"{self.label} was not started yet.")
        return self._child.pid

    @property
    @abstractmethod
    def url(self) -> str:
        """The address in the form that clients of this server take."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what the server needs in its folder. Called before each start, does nothing the second time."""

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """The program (a path) and its arguments."""

    @abstractmethod
    def check(self) -> None:
        """Ask the server something that only a healthy one answers, and set `version`.

        Raises one of `not_ready` when it does not answer.
        """

    def environment(self) -> Mapping[str, str] | None:
        """The child's environment; None is this process's."""
        return None

    def identity(self) -> Identity | None:
        """Whom the child runs as; None is the user of this process."""
        return None

    def working_folder(self) -> Path:
        return self.folder

    def is_running(self) -> bool:
        return self._child is not None and self._child.exit_code() is None

    def exit_code(self) -> int | None:
        """Of the last run; None while it runs, and before the first start."""
        return None if self._child is None else self._child.exit_code()

    def is_healthy(self) -> bool:
        """True when it runs and answers."""
        if not self.is_running():
            return False
        try:
            self.check()
        except self.not_ready:
            return False
        return True

    def log_text(self) -> str:
        """What it has written since it was started last; empty before the first start."""
        return "" if self._child is None else self._child.log_text()

    def reserve(self) -> None:
        """Choose its port and password, so that its address is known before it starts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._port is None:
            self._port = free_port()
        self._port_is_kept = True

    def start(self) -> None:
        """Start it and return when it answers; when it runs already, do nothing.

        Raises LocalError when it ends instead, or does not answer in `start_seconds`.
        """
        if self.is_running():
            return
        self._stopped.clear()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.prepare()
        except OSError as error:
            raise LocalError(
                f"{self.label} can't use its folder ({error}). Was it made by another user? Run as that user, or choose"
                " another folder with DATA_DIR=PATH."
            ) from error
        deadline = time.monotonic() + self.start_seconds
        attempts = 0
        while not self._started_once(deadline):
            log = self.log_text()
            if any(text in log for text in _PORT_TAKEN) and attempts < _PORT_ATTEMPTS:
                attempts += 1
                if not self._port_is_kept:
                    self._port = None
            elif not any(text in log for text in self.still_held) or time.monotonic() > deadline:
                raise LocalError(self._failure("ended at its start"))
            if self._stopped.wait(0.2):
                raise LocalError(f"{self.label} was stopped while it started.")
        self._port_is_kept = True

    def _started_once(self, deadline: float) -> bool:
        """True when the child answers, False when it ended before it did."""
        if self._port is None:
            self._port = free_port()
        self._child = ChildProcess(
            self.command(self._port),
            log_path=self.log_path,
            cwd=self.working_folder(),
            env=self.environment(),
            identity=self.identity(),
            death_signal=self.death_signal,
        )
        last_error = "it does not listen on its port"
        while self._child.exit_code() is None:
            if self._stopped.is_set():
                self._child.kill()
                raise LocalError(f"{self.label} was stopped while it started.")
            if listens(self._child.pid, self._port):
                try:
                    self.check()
                except self.not_ready as error:
                    last_error = str(error) or type(error).__name__
                else:
                    return True
            if time.monotonic() > deadline:
                self._child.kill()
                raise LocalError(self._failure(f"did not answer within {self.start_seconds:.0f} s ({last_error})"))
            time.sleep(0.02)
        return False

    def _failure(self, what: str) -> str:
        lines = [line for line in self.log_text().splitlines() if line.strip()][-_LOG_LINES_SHOWN:]
        shown = "".join(f"\n    {line}" for line in lines)
        code = self.exit_code()
        ended = "" if code is None else f" with exit code {code}"
        return f"{self.label} {what}{ended}. Its last words, from {self.log_path}:{shown or ' none'}{self.advice()}"

    def advice(self) -> str:
        """What a person could do about a failed start, as a text to append; empty when nothing special is known."""
        return ""

    def death_notice(self) -> str:
        """A sentence for a server that ended though nobody asked it to."""
        return self._failure("ended by itself")

    def stop(self) -> bool:
        """End it cleanly; after `stop_seconds` kill it (then False). Nothing when it does not run."""
        self._stopped.set()
        return True if self._child is None else self._child.stop(self.stop_signal, self.stop_seconds)

    def kill(self) -> None:
        """SIGKILL, to it and to what it started: what a crash looks like. `start` brings it back with port and data."""
        self._stopped.set()
        if self._child is not None:
            self._child.kill()
