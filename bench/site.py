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
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from pymongo import MongoClient
from pymongo.database import Database

from bench.load import Job, Result
from bench.watch import Holding, Watch
from edgechat.local.mongo import MongoKind
from edgechat.local.progress import Progress
from edgechat.local.server import Server
from edgechat.local.stack import Stack
from edgechat.local.web import WebServer

PROJECT = Path(__file__).parents[1]
UPLOAD_BOUNDARY = "edgechat-bench"
UPLOAD_END = f"\r\n--{UPLOAD_BOUNDARY}--\r\n".encode()
_ATTEMPTS = 10
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
    "MAX_HELD_BYTES": "2000000000",  # half of it for one address, which sends all uploads here
    "JWT_ACCESS_EXPIRE_MINUTES": "720",
    "PYTHONWARNINGS": "ignore:No directory at",  # only images have collected static files
    "PUBLIC_URL": "",
    "DJANGO_SETTINGS_MODULE": "edgechat.settings",
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
    """The load's result, the web processes' memory and connections, and what was used (see `Watch.used_since`)."""

    result: Result
    holding: Holding = field(default_factory=Holding)
    used: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu_milliseconds(self) -> float:
        """The workers' CPU time for each good answer."""
        return self.for_each()["cpu.web"]

    def for_each(self) -> dict[str, float]:
        """CPU milliseconds and commands for each good answer."""
        finished = max(1, self.result.finished)
        return {
            name: value / finished * (1000 if name.startswith("cpu.") else 1)
            for name, value in self.used.items()
            if name != "seconds"
        }


class Site:
    """Running servers. Scenarios build requests with `request`, and send them with `load`."""

    def __init__(self, web: WebServer, stack: Stack, watch: Watch, env: Mapping[str, str], project: Path) -> None:
        self.web = web
        self.watch = watch
        self.env = env
        self.project = project
        self.seconds = 2.0  # the length of one measurement of throughput
        self.scale = 1.0  # the share of large numbers (users, messages, simultaneous calls) that is used
        self._stack = stack
        self._client = httpx2.Client(base_url=f"{web.url}/api/v1/", timeout=60, trust_env=False)
        with ThreadPoolExecutor(max_workers=8) as pool:
            self.people = list(pool.map(self._register, range(PEOPLE)))

    @property
    def master(self) -> int:
        return self.web.pid

    @property
    def worker_pids(self) -> list[int]:
        return self.web.pids

    @property
    def address(self) -> str:
        """HOST:PORT of the web processes."""
        return self.web.address

    @property
    def stores(self) -> list[Server]:
        """PostgreSQL, Valkey and MongoDB's stand-in."""
        return [server for server in self._stack.servers if server is not self._stack.model]

    def versions(self) -> str:
        """The stores and the stand-in for the model, with their versions."""
        return ", ".join(f"{server.label} {server.version}".strip() for server in self._stack.servers)

    def person(self, number: int) -> Person:
        return self.people[number % len(self.people)]

    def request(self, method: str, path: str, *, person: Person | None = None, body: Any = None) -> str:
        """A whole HTTP request; `path` is relative to /api/v1."""
        token = "" if person is None else f"Authorization: Bearer {person.token}"
        return _request(method, f"/api/v1/{path}", self.address, token, body)

    def model_request(self, text: str, *, streaming: bool) -> str:
        """The request that the SDK would send to the model."""
        method = "streamGenerateContent?alt=sse" if streaming else "generateContent"
        path = f"/v1beta/models/local:{method}"
        body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
        address = self.env["GEMINI_BASE_URL"].removeprefix("http://")
        return _request("POST", path, address, f"x-goog-api-key: {self.env['GEMINI_API_KEY']}", body)

    def upload_request(self, *, person: Person, size: int) -> str:
        """The beginning of an upload. A file of `size` bytes follows, whose last bytes are the body's end."""
        lines = [
            f"POST /api/v1/chat/attachments HTTP/1.1\r\nHost: {self.address}",
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
        deltas: bool = False,
        address: str | None = None,
    ) -> Load:
        """Send requests (see `bench.load.Job`) and watch the web processes meanwhile."""
        host, port = (address or self.address).split(":")
        files = [str(path) for path in attached]
        job = Job(host, int(port), list(requests), connections, seconds, expect, contains, files, deltas)
        before = self.watch.begin()
        result = run_job(job)
        return Load(result, self.watch.peak, self.watch.used_since(before))

    def new_conversations(self, count: int, *, people: int = PEOPLE) -> list[tuple[Person, str]]:
        """That many conversations, spread evenly over that many users.

        They have a title: the first reply in a conversation without one asks the model for it, which would be another
        measurement.
        """

        def begin(number: int) -> tuple[Person, str]:
            person = self.people[number % people]
            return person, self.post(person, "chat/conversations", {"title": f"Number {number}"})["id"]

        with ThreadPoolExecutor(max_workers=8) as pool:
            return list(pool.map(begin, range(count)))

    def post(self, person: Person | None, path: str, body: Any) -> Any:
        """Make data. A busy machine may answer 503, so that is tried again."""
        headers = {} if person is None else {"Authorization": f"Bearer {person.token}"}
        for _ in range(_ATTEMPTS):
            answer = self._client.post(path, headers=headers, json=body)
            if answer.status_code != 503:
                break
            time.sleep(1)
        return answer.raise_for_status().json()

    def new_person(self) -> Person:
        """One more user, without conversations."""
        return self._register(secrets.randbits(60))

    def sql(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement as the database's owner. The rows, if it returns any."""
        with psycopg.connect(
            self.env["DATABASE_URL"], autocommit=True, cursor_factory=psycopg.ClientCursor
        ) as connection:
            connection.execute("SET pg_stat_statements.track = 'none'")
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def mongo(self) -> Iterator[Database[dict[str, Any]]]:
        with MongoClient[dict[str, Any]](self.env["MONGODB_URL"]) as client:
            yield client["edgechat"]

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py and return what it prints."""
        return _manage(self.project, self.env, *arguments)

    def model_calls(self, contains: str) -> list[dict[str, Any]]:
        """The scripted model's record of the calls whose text contains this."""
        key = {"x-goog-api-key": self.env["GEMINI_API_KEY"]}
        url = f"{self.env['GEMINI_BASE_URL']}/scripted/calls"
        answer = httpx2.get(url, params={"contains": contains}, headers=key, trust_env=False)
        calls: list[dict[str, Any]] = answer.json()["calls"]
        return calls

    def log_text(self) -> str:
        return self.web.log_text()

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
        return Person(self.post(None, "auth/register", account)["access_token"], **account)


def run_job(job: Job) -> Result:
    """Run the load generator in a process of its own."""
    result: Result = Result(**run_module("bench.load", asdict(job)))
    return result


def run_module(name: str, given: Any = None, *, env: Mapping[str, str] | None = None) -> Any:
    """Run a module that reads JSON and prints JSON, in a process of its own."""
    command = [sys.executable, "-m", *name.split()]
    text = json.dumps(given)
    full = None if env is None else {**os.environ, **env}
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True, cwd=PROJECT, env=full)
    return json.loads(done.stdout)


@contextmanager
def running_site(*, name: str, project: Path, workers: int, mongo: MongoKind, progress: Progress) -> Iterator[Site]:
    """Servers on a data folder of their own, with a migrated database, until the block ends.

    `project` is the checkout whose code the web processes run.
    """
    with ExitStack() as cleanup:
        data_dir = Path(tempfile.mkdtemp(prefix="edgechat-bench-"))
        cleanup.callback(shutil.rmtree, data_dir, ignore_errors=True)
        stack = Stack(data_dir, durable=False, scripted=True, mongo=mongo)
        cleanup.callback(stack.kill)
        with progress.step(f"{name}: PostgreSQL, Valkey, MongoDB's stand-in, the scripted model"):
            stack.start()
        env = {**_SETTINGS, "JWT_SECRET": secrets.token_hex(32), "DATA_DIR": str(data_dir), **stack.env}
        with progress.step(f"{name}: migrations and indexes"):
            _manage(project, env, "migrate", "--verbosity=0")
            _manage(project, env, "ensure_transcript_indexes")
        web = WebServer(env, data_dir=data_dir, workers=workers, project=project)
        cleanup.callback(web.stop)
        with progress.step(f"{name}: gunicorn with {workers} workers"):
            web.start()
        with progress.step(f"{name}: the processes' own commands, {PEOPLE} people register"):
            watch = cleanup.enter_context(Watch(web, stack))
            site = Site(web, stack, watch, env, project)
        yield site


def _manage(project: Path, env: Mapping[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, cwd=project, env={**os.environ, **env}
    ).stdout


def _request(method: str, path: str, address: str, header: str, body: Any) -> str:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}"]
    if header:
        lines.append(header)
    content = "" if body is None else json.dumps(body)
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", content])
