"""Pictures in a slow object store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from conftest import Person
from conversations.tests.test_attachments import picture, upload

Eventually = Callable[..., Any]
# More than the number of threads that a process lets work at the same time.
CALLS = 26


class SlowStore:
    """A server for the necessary part of S3's protocol. Calls with the `held` method wait."""

    def __init__(self) -> None:
        self.held: str | None = None
        self.waiting = 0
        self._files: dict[str, bytes] = {}
        self._go_on = threading.Condition()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                data = self.rfile.read(length)
                if "chunked" in self.headers.get("Content-Encoding", ""):
                    data = b"".join(_signed_chunks(data))
                store.wait_while_held(self.command)
                status, body = store.answer(self.command, self.path.partition("?")[0], data)
                self.send_response(status)
                self.send_header("ETag", '"x"')
                self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, method: str, name: str, data: bytes) -> tuple[int, bytes]:
        if method == "PUT":
            self._files[name] = data
        elif method == "DELETE":
            self._files.pop(name, None)
            return 204, b""
        elif name not in self._files:
            return 404, b""
        return 200, b"" if method == "PUT" else self._files[name]

    def wait_while_held(self, method: str) -> None:
        with self._go_on:
            self.waiting += 1
            while self.held == method:
                self._go_on.wait(1)
            self.waiting -= 1

    def hold(self, method: str | None) -> None:
        with self._go_on:
            self.held = method
            self._go_on.notify_all()

    def close(self) -> None:
        self.hold(None)
        self._server.shutdown()
        self._server.server_close()


def _signed_chunks(data: bytes) -> Iterator[bytes]:
    """The body of an `aws-chunked` upload, which is signed or followed by a checksum."""
    while data:
        head, _, data = data.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if not size:
            return
        yield data[:size]
        data = data[size + 2 :]


@pytest.fixture
def store() -> Iterator[SlowStore]:
    slow = SlowStore()
    yield slow
    slow.close()


def test_a_slow_store_of_pictures_keeps_nobody_waiting_but_those_who_need_it(
    store: SlowStore, start_web: Callable[..., Any], register: Callable[..., Person], eventually: Eventually
) -> None:
    """More calls wait for the store than there are PostgreSQL connections or threads that may work."""
    web = start_web(
        S3_BUCKET="pictures",
        S3_ENDPOINT_URL=store.url,
        S3_REGION="x",
        S3_ACCESS_KEY_ID="x",
        S3_SECRET_ACCESS_KEY="x",
        DATABASE_POOL_SIZE="2",
        RATE_LIMIT_REQUESTS="1000",
    )
    alice, bob = register("alice", web.url), register("bob", web.url)
    kept = [upload(alice, picture()).json()["id"] for _ in range(CALLS)]
    conversation = bob.new_conversation(title="Titled")
    calls: dict[str, tuple[Callable[[int], Any], int]] = {
        "PUT": (lambda _: upload(alice, picture()), 201),
        "HEAD": (lambda number: alice.get(f"chat/attachments/{kept[number]}"), 200),
        "DELETE": (lambda number: alice.delete(f"chat/attachments/{kept[number]}"), 204),
    }
    for method, (call, status) in calls.items():
        store.hold(method)
        with ThreadPoolExecutor(CALLS) as pool:
            answers = [pool.submit(call, number) for number in range(CALLS)]
            eventually(lambda: store.waiting >= 10)
            for _ in range(3):
                assert bob.get("auth/me").status_code == 200
                assert bob.say(conversation, "hello").status_code == 200
            assert not any(answer.done() for answer in answers)
            store.hold(None)
            assert {answer.result().status_code for answer in answers} == {status}
    assert alice.get(f"chat/attachments/{kept[0]}").status_code == 404
