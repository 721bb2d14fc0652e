"""A client for the servers that all tests share, which start when a test first needs them.

Tests send HTTP to a real gunicorn with real stores and a scripted model. Each test registers its own users, so tests
need no cleanup between them and run in parallel. Tests of commands and pure functions import the code: Django is set up
with the same stores before the first module that imports it. A test that reads a store's address from the environment,
or connects to another store than PostgreSQL, requests the fixture `shared_servers`.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import re
import shutil
import ssl
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import hypothesis
import pytest

from edgechat.local.stack import start_valkey
from edgechat.local.valkey import Valkey
from edgechat.local.web import WebServer
from edgechat.tests.django_setup import imports_django, is_set_up, set_up_django
from edgechat.tests.own_stores import OwnStores, check_each_process
from edgechat.tests.own_stores import own_stores as stores_of_a_test
from edgechat.tests.published import check_answer
from edgechat.tests.shared_servers import SharedServers, shared_web

os.environ["ENV_FILE"] = ".env.test"
os.environ["DJANGO_SETTINGS_MODULE"] = "edgechat.settings"
# Without the compiled files, each process that a test starts would compile the project again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# By default, looking for garbage among all that is imported takes a sixth of the CPU of collecting the tests.
gc.set_threshold(20_000, 20, 50)

# A busy machine must not fail a test.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], max_examples=60
)
hypothesis.settings.load_profile("any machine")

check_each_process()

_servers: SharedServers | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Reserve the servers in the controlling process; xdist's workers inherit their addresses."""
    global _servers
    if not hasattr(config, "workerinput"):
        _servers = SharedServers()


def pytest_collectstart(collector: pytest.Collector) -> None:
    # Reading the modules of all tests for their imports takes a fifth of the CPU of collecting them.
    if isinstance(collector, pytest.Module) and not is_set_up() and imports_django(collector.path):
        set_up_django()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _servers is not None:
        _servers.end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that start processes come first: their tests take longest, and must not be the last that a run waits for.

    xdist gives each worker a whole module (--dist loadfile), in this order.
    """
    slow = {path for path in {item.path for item in items} if _STARTS_PROCESSES.search(path.read_text())}
    items.sort(key=lambda item: item.path not in slow)


_STARTS_PROCESSES = re.compile(r"\bsubprocess\b|\bPopen\b|\bstart_(web|stack|valkey|mongo)\b|Process\(|mark\.faults")


# Loading a machine's certificates takes longer than most tests, and all requests here use plain HTTP.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# Each of xdist's workers has addresses of its own.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_addresses = itertools.count((_WORKER << 20) + random.SystemRandom().randrange(2**19))


def new_address() -> dict[str, str]:
    """The header of a client address that no other test has."""
    number = next(_addresses)
    return {"X-Forwarded-For": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"}


def ask(method: str, url: str, **kwargs: Any) -> httpx2.Response:
    """The answer to one request, with the address of `headers`, or a new one."""
    headers = {**new_address(), **kwargs.pop("headers", {})}
    return httpx2.request(method, url, headers=headers, timeout=60, trust_env=False, verify=_NO_CERTIFICATES, **kwargs)


class Api(httpx2.Client):
    """A client with one address, signed in or not. Paths are relative to /api/v1."""

    def __init__(self, base_url: str, *, token: str | None = None, **kwargs: Any) -> None:
        headers = new_address()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        super().__init__(
            base_url=f"{base_url}/api/v1/",
            headers=headers,
            timeout=60,
            trust_env=False,
            verify=_NO_CERTIFICATES,
            **kwargs,
        )
        self.origin = base_url
        self.at_close = ExitStack()

    def close(self) -> None:
        self.at_close.close()
        super().close()

    def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        """Also raises Unpublished for an answer that the OpenAPI file does not contain."""
        answer = super().send(request, **kwargs)
        check_answer(answer, streamed=kwargs.get("stream", False))
        return answer

    def signed_in(self, token: str) -> Api:
        return Api(self.origin, token=token)


class Person(Api):
    """A registered user's client, with the answer to the registration.

    Each request has its own address, as with a phone, so that no test reaches the limit by address.
    """

    def __init__(self, base_url: str, name: str) -> None:
        super().__init__(base_url, event_hooks={"request": [lambda request: request.headers.update(new_address())]})
        self.email = f"{name}-{uuid.uuid4().hex[:12]}@example.com"
        self.password = f"password of {name}"
        answer = self.post("auth/register", json={"email": self.email, "password": self.password})
        assert answer.status_code == 201, answer.text
        self.tokens: dict[str, Any] = answer.json()
        self.headers["Authorization"] = f"Bearer {self.tokens['access_token']}"
        self.id: int = self.get("auth/me").json()["id"]

    def new_conversation(self, **body: Any) -> str:
        answer = self.post("chat/conversations", json=body)
        assert answer.status_code == 201, answer.text
        conversation_id: str = answer.json()["id"]
        return conversation_id

    def say(self, conversation_id: str, content: str, **body: Any) -> httpx2.Response:
        return self.post(f"chat/conversations/{conversation_id}/messages", json={"content": content, **body})

    def messages(self, conversation_id: str, **query: Any) -> dict[str, Any]:
        body: dict[str, Any] = self.get(f"chat/conversations/{conversation_id}/messages", params=query).json()
        return body


def assert_error(answer: httpx2.Response, status: int, code: str, detail: str, **more: Any) -> None:
    """The answer is this error in the one shape; `more` is its `errors` or `context`."""
    request_id = answer.headers["X-Request-ID"]
    expected = {"detail": detail, "code": code, "request_id": request_id, **more}
    assert (answer.status_code, answer.json()) == (status, expected)
    assert answer.headers["Content-Type"] == "application/json"


def full_size(full: int, otherwise: int) -> int:
    """The size of a test that prints a figure: `full` in `make faults`, which measures, and `otherwise` in other runs.

    The smaller size shows the same, in less time.
    """
    return full if os.environ.get("FULL_SIZE") else otherwise


T = TypeVar("T")


def at_once(count: int, call: Callable[[int], T]) -> list[T]:
    """The results of `call(0)` to `call(count - 1)`, which start at the same time, each in its own thread."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> T:
        barrier.wait(120)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


@pytest.fixture(scope="session")
def shared_servers() -> None:
    """The stores, the scripted model and the shared web processes run."""
    shared_web()


@pytest.fixture(scope="session")
def web_url() -> str:
    """The address of the shared web processes."""
    return shared_web()


@pytest.fixture(scope="session")
def web_with() -> Callable[..., str]:
    """The address of a web process with other settings: `web_with(**STRICT)`.

    Tests that neither kill it nor read its log share it with all tests that use the same settings
    (`edgechat.tests.web_settings`).
    """
    return shared_web


@pytest.fixture
def anonymous(web_url: str) -> Iterator[Api]:
    api = Api(web_url)
    yield api
    api.close()


@pytest.fixture
def alice(web_url: str) -> Iterator[Person]:
    """The owner of the data in a test."""
    person = Person(web_url, "alice")
    yield person
    person.close()


@pytest.fixture
def bob(web_url: str) -> Iterator[Person]:
    """Another user."""
    person = Person(web_url, "bob")
    yield person
    person.close()


@pytest.fixture
def register(web_url: str) -> Iterator[Callable[..., Person]]:
    """Register more users: `register("carol")`, or at the test's own web processes: `register("carol", web.url)`."""
    people: list[Person] = []

    def make(name: str, url: str | None = None) -> Person:
        people.append(Person(url or web_url, name))
        return people[-1]

    yield make
    for person in people:
        person.close()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty folder. If root runs the tests, PostgreSQL's user cannot enter the parents of pytest's `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="edgechat-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_valkey(data_dir: Path) -> Iterator[Valkey]:
    """A Redis that the test may configure and kill. Only web processes with `own_stores.env` may use it."""
    valkey = start_valkey(data_dir, durable=False)
    yield valkey
    valkey.kill()


@pytest.fixture
def own_stores(shared_servers: None, request: pytest.FixtureRequest) -> Iterator[OwnStores]:
    """Databases and a Redis that only this test uses: the code that it calls, and `start_web(**own_stores.env)`.

    The Redis is `own_valkey` in a test that requests it too. Request this fixture before `start_web`, so that the web
    processes end first.
    """
    own_redis = request.getfixturevalue("own_valkey").url if "own_valkey" in request.fixturenames else None
    with stores_of_a_test(redis_url=own_redis) as stores:
        yield stores


@pytest.fixture(scope="module")
def module_stores(shared_servers: None) -> Iterator[OwnStores]:
    """The same for all tests of a module, which must not use the shared web processes."""
    with stores_of_a_test() as stores:
        yield stores


@pytest.fixture
def start_web(shared_servers: None, data_dir: Path) -> Iterator[Callable[..., WebServer]]:
    """Start the test's own web processes with other settings: `start_web(workers=1, RATE_LIMIT_REQUESTS="5")`.

    They run no imports, because they may be starved or killed, and others' imports with them.
    """
    started: list[WebServer] = []

    def start(*, workers: int = 1, ready_path: str = "/api/v1/health", **env: str) -> WebServer:
        if folder := env.get("DATA_DIR"):  # making the OpenAPI file again would take longer than the start
            with suppress(FileExistsError):
                (Path(folder) / "openapi").symlink_to(Path(os.environ["DATA_DIR"]) / "openapi")
        env = {"IMPORT_MAX_MB": "0", **env}
        server = WebServer(env, data_dir=data_dir, workers=workers, ready_path=ready_path, name=f"web-{len(started)}")
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def model_calls(shared_servers: None) -> Callable[[str], list[dict[str, Any]]]:
    """The calls to the scripted model whose last user text contains a text."""

    def calls(contains: str) -> list[dict[str, Any]]:
        url = f"{os.environ['GEMINI_BASE_URL']}/scripted/calls"
        key = {"x-goog-api-key": os.environ["GEMINI_API_KEY"]}
        answer = httpx2.get(
            url, params={"contains": contains}, headers=key, timeout=60, trust_env=False, verify=_NO_CERTIFICATES
        )
        found: list[dict[str, Any]] = answer.json()["calls"]
        return found

    return calls


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Wait until a condition holds, two minutes at most, and return its value."""

    def wait(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
        began = time.monotonic()
        while not (result := condition()):
            waited = time.monotonic() - began
            assert waited < seconds, "the condition did not come true in time"
            # Poll a slow condition less often: each check takes time from the work that it waits for.
            time.sleep(min(0.3, max(0.02, waited / 20)))
        return result

    return wait
