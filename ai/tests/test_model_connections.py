"""Connections to the model are kept between calls, as long as the model keeps them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from ai.gemini.call_control import MAX_IDLE, ControlledClient


class Model(ThreadingHTTPServer):
    """Answers every request. It counts its connections, and closes each after an answer if `hurried`."""

    daemon_threads = True
    hurried = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.opened = 0
        self.closed = threading.Semaphore(0)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.opened += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.closed.release()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Model

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
        self.close_connection = self.server.hurried

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def model() -> Iterator[Model]:
    with Model() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client() -> Iterator[ControlledClient]:
    with ControlledClient(timeout=httpx2.Timeout(60)) as client:
        yield client


def ask(client: ControlledClient, model: Model, *, stream: bool = False) -> httpx2.Response:
    return client.send(client.build_request("GET", f"http://127.0.0.1:{model.server_port}/"), stream=stream)


def test_successive_calls_share_a_connection(client: ControlledClient, model: Model) -> None:
    assert [ask(client, model).text for _ in range(3)] == ["ok"] * 3
    assert model.opened == 1


def test_a_connection_that_the_model_has_closed_is_not_used_again(client: ControlledClient, model: Model) -> None:
    model.hurried = True
    for _ in range(2):
        assert ask(client, model).text == "ok"
        assert model.closed.acquire(timeout=120)
    assert model.opened == 2


def test_simultaneous_calls_have_connections_of_their_own(client: ControlledClient, model: Model) -> None:
    answers = [ask(client, model, stream=True) for _ in range(MAX_IDLE + 1)]
    assert model.opened == MAX_IDLE + 1
    for answer in answers:
        assert answer.read() == b"ok"
    assert model.closed.acquire(timeout=120)  # no more than MAX_IDLE are kept


def test_an_answer_that_is_not_read_ends_its_connection(client: ControlledClient, model: Model) -> None:
    ask(client, model, stream=True).close()
    assert model.closed.acquire(timeout=120)
    assert ask(client, model).text == "ok"
    assert model.opened == 2
