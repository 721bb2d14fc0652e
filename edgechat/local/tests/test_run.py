"""`python -m edgechat.local.run` in a minimal project: what it starts, prints and leaves.

The embedded servers and gunicorn are real. manage.py, the application and the model server are stand-ins of a few
lines, so that a test can cause each fault.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest

from edgechat.local.ports import free_port, port_is_taken
from edgechat.local.process import lives, wait_until

_LOCAL = Path(__file__).parents[1]
_MANAGE = """
import os, sys
print("ran", *sys.argv[1:], os.environ["ENVIRONMENT"])
if sys.argv[1] == os.environ.get("BREAK"):
    sys.exit("no such column")
"""
_WSGI = """
def application(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
_GUNICORN = """
import gevent.monkey
gevent.monkey.patch_all()
import os
worker_class = "gevent"
workers = int(os.environ["WEB_CONCURRENCY"])
"""
_MODEL = """
import argparse, http.server, os, sys
parser = argparse.ArgumentParser()
for name in ("--port", "--ready-file", "--key-file", "--gguf"):
    parser.add_argument(name)
for name in ("--scripted", "--die-with-parent"):
    parser.add_argument(name, action="store_true")
options = parser.parse_args()
if options.gguf:
    print("cannot load", options.gguf)
    sys.exit(4)
if not options.scripted:
    sys.exit(3)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"model": "local-scripted"}')
server = http.server.HTTPServer(("127.0.0.1", int(options.port)), Handler)
open(options.ready_file, "w").write(f"http://127.0.0.1:{server.server_port}")
server.serve_forever()
"""


@dataclass
class Launched:
    process: subprocess.Popen[str]
    data_dir: Path
    port: int
    output_path: Path

    def output(self) -> str:
        return self.output_path.read_text(encoding="utf-8")

    def wait_ready(self) -> None:
        assert wait_until(lambda: "is ready" in self.output() or self.process.poll() is not None, seconds=180)
        assert self.process.poll() is None, self.output()

    def run_env(self) -> dict[str, str]:
        lines = (self.data_dir / "run.env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


Launch = Callable[..., Launched]


@pytest.fixture
def launch(data_dir: Path) -> Iterator[Launch]:
    project = data_dir / "project"
    shutil.copytree(_LOCAL, project / "edgechat" / "local", ignore=shutil.ignore_patterns("model_server", "tests"))
    (project / "edgechat" / "processes").mkdir()
    shutil.copy(_LOCAL.parent / "processes" / "child.py", project / "edgechat" / "processes")
    (project / "edgechat" / "local" / "model_server").mkdir()
    (project / "edgechat" / "local" / "model_server" / "__main__.py").write_text(_MODEL)
    (project / "edgechat" / "__init__.py").write_text('__version__ = "1"')
    (project / "edgechat" / "wsgi.py").write_text(_WSGI)
    (project / "manage.py").write_text(_MANAGE)
    (project / "gunicorn.conf.py").write_text(_GUNICORN)
    data_dir.chmod(0o711)
    launched: list[Launched] = []

    def start(*arguments: str, port: int | None = None, postgres: bool = False, **environment: str) -> Launched:
        port = free_port() if port is None else port
        if not postgres:
            environment["POSTGRES_HOST"] = "127.0.0.1"  # avoids creating a cluster
        output_path = data_dir / f"output-{len(launched)}"
        clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        with output_path.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "edgechat.local", "run", *arguments],
                cwd=project,
                env=clean
                | {"DATA_DIR": str(data_dir / "data"), "PORT": str(port), "WEB_CONCURRENCY": "1"}
                | {"LOCAL_MONGO": "nx", "LOCAL_MODEL": "0"}
                | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        launched.append(Launched(process, data_dir / "data", port, output_path))
        return launched[-1]

    yield start
    for one in launched:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_serves_until_it_is_asked_to_stop_and_keeps_its_data(launch: Launch, number: signal.Signals) -> None:
    first = launch(postgres=True)
    first.wait_ready()
    with urllib.request.urlopen(f"http://127.0.0.1:{first.port}/", timeout=5) as answer:
        assert answer.read() == b"ok"
    assert "NX-27017 knows no passwords: other users of this machine can read" in first.output()
    for shown in ("PostgreSQL 18", "Valkey 9", "NX-27017", "Model (scripted)", "Migrations", "Transcript indexes"):
        assert f"ok {shown}" in first.output()
    for path in ("/playground", "/docs", "/admin/"):
        assert f"http://127.0.0.1:{first.port}{path}" in first.output()
    env = first.run_env()
    assert env["ENVIRONMENT"] == "development"
    assert set(env) - {"ENVIRONMENT"} == {
        "DATABASE_URL",
        "MONGODB_URL",
        "REDIS_URL",
        "GEMINI_BASE_URL",
        "GEMINI_API_KEY",
        "GEMINI_MODEL",
    }
    assert env["GEMINI_MODEL"] == "local-scripted"
    assert stat.S_IMODE((first.data_dir / "run.env").stat().st_mode) == 0o600
    with psycopg.connect(env["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    children = first.children()

    assert first.end(number) == 0
    assert not any(lives(child) for child in children)
    assert not (first.data_dir / "run.env").exists()

    second = launch(port=first.port, postgres=True)
    second.wait_ready()
    with psycopg.connect(second.run_env()["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (42,)
    assert second.end() == 0


def test_a_second_run_on_the_same_folder_is_refused_and_harms_nothing(launch: Launch) -> None:
    first = launch(postgres=True)
    first.wait_ready()
    second = launch(postgres=True)
    assert second.process.wait(30) == 1
    assert f"Another EdgeChat (process {first.process.pid}) runs on" in second.output()
    assert "DATABASE_URL" in first.run_env()
    with psycopg.connect(first.run_env()["DATABASE_URL"]) as connection:
        connection.execute("SELECT 1")
    assert first.end() == 0


def test_a_port_in_use_is_said_before_anything_starts(launch: Launch) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as stranger:
        run = launch(port=stranger.getsockname()[1])
        assert run.process.wait(30) == 1
    assert "is in use by another program" in run.output()
    assert "PORT=" in run.output()
    assert not run.data_dir.exists()


def test_a_failing_migration_stops_the_run_with_its_words(launch: Launch) -> None:
    run = launch(BREAK="migrate")
    assert run.process.wait(60) == 1
    assert "Migrations failed with exit code 1" in run.output()
    assert "no such column" in run.output()
    assert not (run.data_dir / "run.env").exists()


def test_a_server_that_dies_stops_the_run(launch: Launch) -> None:
    run = launch()
    run.wait_ready()
    children = run.children()
    next(child for child in children if child.name() == "valkey-server").kill()
    assert run.process.wait(60) == 1
    assert "Valkey ended by itself with exit code -9" in run.output()
    assert str(run.data_dir / "log" / "valkey.log") in run.output()
    assert not any(lives(child) for child in children)


def test_a_model_that_dies_is_started_again_at_its_address(launch: Launch) -> None:
    run = launch()
    run.wait_ready()
    url = run.run_env()["GEMINI_BASE_URL"]
    others = {child.pid for child in run.children()}
    for _ in range(2):
        dead = next(child for child in run.children() if "edgechat.local.model_server" in child.cmdline())
        dead.kill()
        assert wait_until(lambda: not lives(dead), seconds=120)  # noqa: B023
        others.discard(dead.pid)
        assert wait_until(lambda: answers(f"{url}/health"), seconds=120)
    assert "Model (scripted) ended by itself with exit code -9" in run.output()
    with urllib.request.urlopen(f"http://127.0.0.1:{run.port}/", timeout=60) as answer:
        assert answer.read() == b"ok"
    assert others <= {child.pid for child in run.children()}
    assert run.end() == 0


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_nothing_outlives_a_run_that_is_sigkilled(launch: Launch) -> None:
    run = launch(postgres=True)
    run.wait_ready()
    children = run.children()
    run.process.kill()
    run.process.wait()
    assert wait_until(lambda: not any(lives(child) for child in children), seconds=60)
    assert not port_is_taken(run.port)
    again = launch(port=run.port, postgres=True)
    again.wait_ready()
    assert again.end() == 0


def test_parts_whose_variables_are_set_are_not_embedded(launch: Launch, data_dir: Path) -> None:
    (data_dir / "project" / ".env").write_text("REDIS_URL=redis://127.0.0.1:1/0\nMONGODB_URL=\n")
    run = launch(GEMINI_API_KEY="a-key")
    run.wait_ready()
    assert set(run.run_env()) == {"ENVIRONMENT", "MONGODB_URL"}
    assert "postgres: not embedded" in run.output()
    assert run.end() == 0


def test_without_the_models_wheels_the_answers_are_scripted_and_it_says_so(launch: Launch) -> None:
    run = launch(LOCAL_MODEL="1")
    run.wait_ready()
    assert "wheels are not installed" in run.output()
    assert "ok Model (scripted)" in run.output()
    assert run.end() == 0


def test_the_superuser_and_the_demo_are_made_only_where_they_are_asked_for(launch: Launch) -> None:
    run = launch("--demo", FIRST_SUPERUSER_EMAIL="root@example.com")
    run.wait_ready()
    assert "ok Demo data" in run.output()
    assert wait_until(lambda: run.output().rstrip().endswith("ran seed_demo development"), seconds=60)
    assert "ok Superuser" in run.output()
    assert (run.data_dir / "log" / "ensure_superuser.log").read_text() == "ran ensure_superuser development\n"
    assert run.end() == 0


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("missing.gguf", "cannot be read: No such file or directory."),
        (".", "cannot be read: Is a directory."),
        ("words.gguf", "is no GGUF file: it does not begin with GGUF."),
    ],
)
def test_a_file_that_is_no_model_is_named_before_anything_starts(
    launch: Launch, data_dir: Path, file: str, said: str
) -> None:
    (data_dir / "words.gguf").write_text("words")
    run = launch(LOCAL_MODEL="1", LOCAL_MODEL_GGUF=f"{data_dir}/{file}")
    assert run.process.wait(60) == 1
    assert run.output().strip() == f"LOCAL_MODEL_GGUF is '{data_dir}/{file}', which {said}"
    assert not run.data_dir.exists()


def test_a_file_that_cannot_be_loaded_stops_the_run_with_the_reason(launch: Launch, data_dir: Path) -> None:
    (data_dir / "broken.gguf").write_bytes(b"GGUF and so on")
    run = launch(LOCAL_MODEL="1", LOCAL_MODEL_GGUF=f"{data_dir}/broken.gguf")
    assert run.process.wait(120) == 1
    assert f"LOCAL_MODEL_GGUF: cannot load {data_dir}/broken.gguf" in run.output()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "80x", "PORT is '80x'; it must be a number from 1 to 65535."),
        ("WEB_CONCURRENCY", "0", "WEB_CONCURRENCY is '0'; it must be a number from 1 to 512."),
        ("LOCAL_MONGO", "mysql", "LOCAL_MONGO is 'mysql'; it may be secantus or nx."),
    ],
)
def test_a_wrong_variable_is_named(launch: Launch, name: str, value: str, said: str) -> None:
    run = launch(**{name: value})
    assert run.process.wait(30) == 1
    assert run.output().strip() == said
