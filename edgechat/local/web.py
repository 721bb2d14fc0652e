"""The web processes: gunicorn with the project's configuration, started for `make run`, tests and the benchmark."""

import http.client
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from edgechat.local.ports import HOST
from edgechat.local.process import LocalError, wait_until
from edgechat.local.server import Server

_PROJECT = Path(__file__).parents[2]
READY_PATH = "/api/v1/health/ready"
# Calls on this machine must not go through a proxy from the environment.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class WebServer(Server):
    """gunicorn's master and workers. Ready when `ready_path` answers 200."""

    label = "Web server"
    # gunicorn stops quickly: the stores that a graceful stop needs die at the same moment.
    death_signal = signal.SIGQUIT

    not_ready = (OSError, LocalError, http.client.HTTPException)

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        data_dir: Path,
        workers: int = 2,
        port: int | None = None,
        reload: bool = False,
        ready_path: str = READY_PATH,
        name: str = "web",
        project: Path = _PROJECT,
        python: str = sys.executable,
        start_seconds: float = 60.0,
        graceful_seconds: float = 30.0,
    ) -> None:
        """`env` is added to this process's environment; without `port` a free one is chosen."""
        super().__init__(name, data_dir.absolute(), port=port)
        self._env = dict(env)
        self._workers = workers
        self._reload = reload
        self._project = project
        self._python = python
        self._ready_path = ready_path
        self.start_seconds = start_seconds
        # The workers get their graceful time, and the master a little more for their end.
        self.stop_seconds = graceful_seconds + 5

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, without a slash at the end."""
        return f"http://{self.address}"

    @property
    def pids(self) -> list[int]:
        """The workers' process ids."""
        if not self.is_running():
            return []
        try:
            children = psutil.Process(self.pid).children()
            # The master has another child, the fork server of edgechat.sandbox.
            return [child.pid for child in children if "edgechat.sandbox.fork_server" not in child.cmdline()]
        except psutil.NoSuchProcess:
            return []

    def prepare(self) -> None:
        self.folder.chmod(0o700)

    def command(self, port: int) -> list[str]:
        options = ["-c", "gunicorn.conf.py", "--bind", f"{HOST}:{port}"]
        if self._reload:
            options += self._reload_options()
        # By default its control socket is in the home folder, the same one for all runs of this user.
        options.append("--no-control-socket")
        return [self._python, "-m", "gunicorn", *options, "edgechat.wsgi:application"]

    def _reload_options(self) -> list[str]:
        """Restart when a module changes, or a file of the playground, whose size WhiteNoise reads at the start."""
        pages = (self._project / "edgechat" / "playground").rglob("*.*")
        files = sorted(str(path) for path in pages if path.suffix in (".css", ".html", ".js"))
        return ["--reload", *(f"--reload-extra-file={file}" for file in files)]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, **self._env, "PORT": str(self.port), "WEB_CONCURRENCY": str(self._workers)}

    def working_folder(self) -> Path:
        return self._project

    def check(self) -> None:
        try:
            with _open(self.url + self._ready_path, timeout=5):
                return
        except urllib.error.HTTPError as error:
            raise LocalError(
                f"{self._ready_path} answers {error.code}: {error.read(2000).decode(errors='replace')}"
            ) from None

    def kill_worker(self) -> int:
        """Send SIGKILL to one worker (the master starts another one). Returns its process id.

        Raises LocalError when there is no worker.
        """
        pids = self.pids
        if not pids:
            raise LocalError("No worker is running.")
        os.kill(pids[0], signal.SIGKILL)
        return pids[0]

    def wait_for_workers(self, *, without: int | None = None, seconds: float = 120.0) -> bool:
        """Wait until all workers run and none of them is `without` (a process id). False when that takes too long."""
        return wait_until(lambda: len(self.pids) >= self._workers and without not in self.pids, seconds=seconds)

    def terminate(self) -> bool:
        """Send SIGTERM and wait for the graceful end, which finishes open requests. False when it had to be killed."""
        return self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
