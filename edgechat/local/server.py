"""The common part of all embedded servers: a folder, a log, a free port, start, stop, kill and a health check."""

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from edgechat.local.data_dir import kept_secret
from edgechat.local.ports import HOST, free_port, listens
from edgechat.local.process import ChildProcess, Identity, LocalError

_PORT_TAKEN = ("ddress already in use", "ddress in use", "onnection in use")
_PORT_ATTEMPTS = 5
_LOG_LINES_SHOWN = 5


class Server(ABC):
    """One embedded server. It keeps its port over stop, kill and start, so its URLs stay valid."""

    label: str
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL
    start_seconds: float = 60.0
    stop_seconds: float = 20.0
    # The exceptions of `check` while the server is not ready.
    not_ready: ClassVar[tuple[type[Exception], ...]] = (OSError, LocalError)
    # Log messages of a server whose folder is still held by a former server that was killed a moment ago.
    still_held: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, data_dir: Path, *, port: int | None = None) -> None:
        """`name` names the folder and the log below `data_dir`. Without `port` a free one is chosen."""
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
        """The port on which the server listens.

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
        """The main process's id; the last one's when the server does not run.

        Raises LocalError before the first start.
        """
        if self._child is None:
            raise LocalError(f"{self.label} was not started yet.")
        return self._child.pid

    @property
    def password(self) -> str:
        """The password of its clients, created on first use and kept with its data."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return kept_secret(self.folder / "password")

    @property
    @abstractmethod
    def url(self) -> str:
        """The address in the form that this server's clients take."""

    @abstractmethod
    def prepare(self) -> None:
        """Create what the server needs in its folder. Called before each start; does nothing the second time."""

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """The program (a path) and its arguments."""

    @abstractmethod
    def check(self) -> None:
        """Send the server a request that only a healthy one answers, and set `version`.

        Raises one of `not_ready` when it does not answer.
        """

    def environment(self) -> Mapping[str, str] | None:
        """The child's environment. None means this process's environment."""
        return None

    def identity(self) -> Identity | None:
        """The user that the child runs as. None means the user of this process."""
        return None

    def working_folder(self) -> Path:
        return self.folder

    def listens(self, port: int) -> bool:
        """Whether the child itself listens on `port`, and not another process that was faster."""
        return listens(self.pid, port)

    def is_running(self) -> bool:
        return self._child is not None and self._child.exit_code() is None

    def exit_code(self) -> int | None:
        """The exit code of the last run; None while the server runs, and before the first start."""
        return None if self._child is None else self._child.exit_code()

    def is_healthy(self) -> bool:
        """True when the server runs and answers."""
        if not self.is_running():
            return False
        try:
            self.check()
        except self.not_ready:
            return False
        return True

    def log_text(self) -> str:
        """The output since the last start; empty before the first start."""
        return "" if self._child is None else self._child.log_text()

    def reserve(self) -> None:
        """Choose the port, so that the address is known before the start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._port is None:
            self._port = free_port()
        self._port_is_kept = True

    def start(self) -> None:
        """Start the server and return when it answers. Does nothing when it runs.

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
        """True when the child answers, False when it ended first."""
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
            if self.listens(self._port):
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
        return f"{self.label} {what}{ended}. Its last log lines, from {self.log_path}:{shown or ' none'}"

    def death_notice(self) -> str:
        """A sentence for a server that ended without a request."""
        return self._failure("ended by itself")

    def stop(self) -> bool:
        """End the server cleanly; after `stop_seconds` kill it and return False. Does nothing when it does not run."""
        self._stopped.set()
        return True if self._child is None else self._child.stop(self.stop_signal, self.stop_seconds)

    def kill(self) -> None:
        """Send SIGKILL to the server and its descendants, as in a crash. `start` restarts it with its port and data."""
        self._stopped.set()
        if self._child is not None:
            self._child.kill()
