"""What a scenario measures: the servers of a run, signed-in users, and the load generator."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2

from bench.load import Job, Result
from bench.watch import Holding, Watch
from edgechat.local.mongo import MongoKind
from edgechat.local.progress import Progress
from edgechat.local.stack import Stack
from edgechat.local.web import WebServer

UPLOAD_BOUNDARY = "edgechat-bench"
UPLOAD_END = f"\r\n--{UPLOAD_BOUNDARY}--\r\n".encode()
PEOPLE = 40  # users that register at the start; hashing their passwords takes time
# The differences between a run's settings and a production deployment's: no request may be refused, and no token
# expires during a run.
_SETTINGS = {
    "ENV_FILE": os.devnull,
    "ENVIRONMENT": "production",
    "ALLOWED_HOSTS": "127.0.0.1",
    "RATE_LIMIT_REQUESTS": "1000000000",
    "AUTH_RATE_LIMIT": "1000000000/m",
    # A few users make the requests of many.
    "MAX_REPLIES_PER_USER": "1000000",
    "MAX_STREAMS_PER_USER": "1000000",
    "MAX_CONNECTIONS_PER_ADDRESS": "1000000",
    "JWT_ACCESS_EXPIRE_MINUTES": "720",
    "PYTHONWARNINGS": "ignore:No directory at",  # only images have collected static files
}
_PLAIN_FAULT = re.compile(r"Traceback|.*\[(WARNING|ERROR|CRITICAL)\]|\w+(\.\w+)*(Error|Warning)\b")


@dataclass(frozen=True)
class Person:
    """A signed-in user."""

    token: str
    email: str = ""
    password: str = ""


@dataclass(frozen=True)
class Load:
    """The load's result, the web processes' memory and connections, and the CPU time of the workers in seconds."""

    result: Result
    holding: Holding
    web_cpu_seconds: float

    @property
    def cpu_milliseconds(self) -> float:
        """The workers' CPU time for each good answer."""
        return self.web_cpu_seconds / max(1, self.result.answered) * 1000


class Site:
    """Running servers. Scenarios build requests with `request`, and send them with `load`."""

    def __init__(self, web: WebServer, stack: Stack, watch: Watch) -> None:
        self._web = web
        self._watch = watch
        self._stack = stack
        with ThreadPoolExecutor(max_workers=8) as pool:
            self.people = list(pool.map(self._register, range(PEOPLE)))

    @property
    def workers(self) -> int:
        return len(self._web.pids)

    @property
    def master(self) -> int:
        return self._web.pid

    @property
    def worker_pids(self) -> list[int]:
        return self._web.pids

    @property
    def address(self) -> str:
        """HOST:PORT of the web processes."""
        return self._web.address

    def versions(self) -> str:
        """The stores and the stand-in for the model, with their versions."""
        return ", ".join(f"{server.label} {server.version}".strip() for server in self._stack.servers)

    def person(self, number: int) -> Person:
        return self.people[number % len(self.people)]

    def request(self, method: str, path: str, *, person: Person | None = None, body: Any = None) -> str:
        """A whole HTTP request; `path` is relative to /api/v1."""
        lines = [f"{method} /api/v1/{path} HTTP/1.1", f"Host: {self._web.address}"]
        if person is not None:
            lines.append(f"Authorization: Bearer {person.token}")
        content = "" if body is None else json.dumps(body)
        if content:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        return "\r\n".join([*lines, "", content])

    def upload_request(self, *, person: Person, size: int) -> str:
        """The beginning of an upload. A file of `size` bytes follows, whose last bytes are the body's end."""
        lines = [
            f"POST /api/v1/chat/attachments HTTP/1.1\r\nHost: {self._web.address}",
            f"Authorization: Bearer {person.token}",
            f"Content-Type: multipart/form-data; boundary={UPLOAD_BOUNDARY}",
        ]
        part = f'--{UPLOAD_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n\r\n'
        return "\r\n".join([*lines, f"Content-Length: {len(part) + size}", "", part])

    def load(
        self,
        requests: Sequence[str],
        *,
        connections: int,
        seconds: float | None = None,
        expect: int = 200,
        contains: str = "",
        attached: Sequence[Path] = (),
    ) -> Load:
        """Send requests (see `bench.load.Job`) and watch the web processes meanwhile."""
        host, port = self._web.address.split(":")
        self._watch.begin()
        cpu_before = self._watch.web_cpu_seconds()
        files = [str(path) for path in attached]
        result = run_job(Job(host, int(port), list(requests), connections, seconds, expect, contains, files))
        return Load(result, self._watch.peak, self._watch.web_cpu_seconds() - cpu_before)

    def new_conversations(self, count: int, *, people: int = PEOPLE) -> list[tuple[Person, str]]:
        """That many conversations, spread evenly over that many users.

        They have a title: the first reply in a conversation without one asks the model for it, which would be another
        measurement.
        """
        with self._client() as client, ThreadPoolExecutor(max_workers=8) as pool:

            def begin(number: int) -> tuple[Person, str]:
                person = self.people[number % people]
                headers = {"Authorization": f"Bearer {person.token}"}
                answer = client.post("chat/conversations", headers=headers, json={"title": f"Number {number}"})
                return person, answer.raise_for_status().json()["id"]

            return list(pool.map(begin, range(count)))

    def open_transactions(self) -> int:
        return self._watch.open_transactions()

    def redis_commands(self) -> Counter[str]:
        """How often Redis has run each command, without the watch's own commands."""
        return self._watch.redis_commands()

    def statements(self) -> Counter[str]:
        """How often PostgreSQL has run each statement."""
        return self._watch.statements()

    def log_text(self) -> str:
        return self._web.log_text()

    def log_faults(self) -> Counter[str]:
        """How often each kind of line of level warning and above occurs in the web processes' log."""
        faults: Counter[str] = Counter()
        for line in self.log_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                if _PLAIN_FAULT.match(line):
                    faults[line[:200]] += 1
                continue
            if isinstance(record, dict) and record.get("level") in ("warning", "error", "critical"):
                faults[f"{record['level']} {record.get('event')} {record.get('reason', '')}".rstrip()[:200]] += 1
        return faults

    def _register(self, number: int) -> Person:
        account = {"email": f"person-{number}@example.com", "password": secrets.token_urlsafe(16)}
        with self._client() as client:
            token = client.post("auth/register", json=account).raise_for_status().json()["access_token"]
            return Person(token, **account)

    def _client(self) -> httpx2.Client:
        return httpx2.Client(base_url=f"{self._web.url}/api/v1/", timeout=60, trust_env=False)


def run_job(job: Job) -> Result:
    """Run the load generator in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(job)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return Result(**json.loads(done.stdout))


def run_stream_reader(address: str, requests: Sequence[str]) -> list[list[float]]:
    """Read event streams in a separate process (see `bench.stream_reader`): when each stream's deltas arrived."""
    host, port = address.split(":")
    done = subprocess.run(
        [sys.executable, "-m", "bench.stream_reader"],
        input=json.dumps({"host": host, "port": int(port), "requests": list(requests)}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    times: list[list[float]] = json.loads(done.stdout)
    return times


def generator_rate(*, connections: int, seconds: float) -> Result:
    """The load generator's rate against a server that does no work."""
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.trivial_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    with server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        # As long as a real request.
        request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {'x' * 400}\r\n\r\n"
        return run_job(Job("127.0.0.1", port, [request] * connections, connections, seconds))


@contextmanager
def running_site(*, workers: int, mongo: MongoKind, progress: Progress) -> Iterator[Site]:
    """Servers on a data folder of their own, with a migrated database, until the block ends."""
    with ExitStack() as cleanup:
        data_dir = Path(tempfile.mkdtemp(prefix="edgechat-bench-"))
        cleanup.callback(shutil.rmtree, data_dir, ignore_errors=True)
        stack = Stack(data_dir, durable=False, scripted=True, mongo=mongo)
        cleanup.callback(stack.kill)
        with progress.step("PostgreSQL, Valkey, MongoDB's stand-in, the scripted model"):
            stack.start()
        os.environ.update(
            _SETTINGS, JWT_SECRET=secrets.token_hex(32), DATA_DIR=str(data_dir), PUBLIC_URL="", **stack.env
        )
        with progress.step("migrations and indexes"):
            _migrate()
        web = WebServer({}, data_dir=data_dir, workers=workers)
        cleanup.callback(web.stop)
        with progress.step(f"gunicorn with {workers} workers"):
            web.start()
        watch = Watch(web, postgres_url=stack.env["DATABASE_URL"], redis_url=stack.env["REDIS_URL"])
        cleanup.enter_context(watch)
        with progress.step(f"{PEOPLE} people register"):
            site = Site(web, stack, watch)
        yield site


def _migrate() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "edgechat.settings"
    import django
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    call_command("migrate", verbosity=0)
    with open(os.devnull, "w") as nowhere:
        call_command("ensure_transcript_indexes", stdout=nowhere)
    connections.close_all()
