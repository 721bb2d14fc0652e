"""deploy/caddy with a real Caddy: TLS in front of a gunicorn, which streams pass through as they are written."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from conftest import Api
from conversations.tests.events import EVENT_STREAM, read_events, text_of
from edgechat.local.caddy import Caddy, validate
from edgechat.local.web import WebServer

LONG = "[[chunks=500]][[gap=0.2]]" + "word " * 500


def test_caddy_accepts_the_file() -> None:
    code, told = validate("chat.example.com")
    assert code == 0, told


@pytest.fixture
def web(start_web: Callable[..., WebServer]) -> WebServer:
    return start_web(
        ENVIRONMENT="production", JWT_SECRET="x" * 32, ALLOWED_HOSTS="localhost,127.0.0.1", TRUSTED_PROXY_COUNT="1"
    )


@pytest.fixture
def caddy(web: WebServer, data_dir: Path) -> Iterator[Caddy]:
    server = Caddy(web.address, data_dir)
    server.reserve()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def client(caddy: Caddy, eventually: Callable[..., Any]) -> Iterator[httpx2.Client]:
    """Speaks TLS with Caddy, and says that it has another address."""
    context = ssl.create_default_context(cafile=str(caddy.authority))
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http"}
    with httpx2.Client(
        base_url=f"{caddy.url}/api/v1/", verify=context, headers=headers, trust_env=False, timeout=120
    ) as found:

        def answers() -> bool:
            try:
                return found.get("health").status_code == 200
            except httpx2.TransportError:
                return False

        eventually(answers)
        yield found


def test_a_stream_passes_as_it_is_written(web: WebServer, caddy: Caddy, client: httpx2.Client) -> None:
    body = {"email": "ann@example.com", "password": "no common one"}
    registered = client.post("auth/register", json=body)
    assert registered.status_code == 201, registered.text
    # The app knows that the client speaks TLS, and its address by Caddy's word only.
    assert "max-age" in registered.headers["Strict-Transport-Security"]
    token = registered.json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    [session] = client.get("auth/sessions").json()["sessions"]
    assert session["ip"] in ("127.0.0.1", "::1")

    conversation = client.post("chat/conversations", json={"title": "Titled"}).json()["id"]
    path = f"chat/conversations/{conversation}/messages"
    with client.stream("POST", path, json={"content": LONG}, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        told = [next(events)]
        while told[-1].get("event") != "delta":
            told.append(next(events))
        # The first words are here, and the reply has minutes to go.
        with Api(web.url, token=token) as direct:
            mid = direct.get(path).json()["messages"][1]["id"]
            assert direct.get(f"{path}/{mid}").json()["status"] == "generating"
            final = direct.post(f"{path}/{mid}/stop").json()
        told += events
    assert told[-1]["event"] == "done"
    assert text_of(told) == told[-1]["data"]["content"] == final["content"]


def test_plain_http_is_sent_to_tls(caddy: Caddy, client: httpx2.Client) -> None:
    answer = httpx2.get(f"http://localhost:{caddy.plain_port}/api/v1/health", trust_env=False)
    assert answer.status_code == 308
    assert answer.headers["Location"].startswith("https://localhost")
