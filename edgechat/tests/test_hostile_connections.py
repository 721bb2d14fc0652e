"""Clients that do not read, that open too many connections, or that never finish a request."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from conftest import Person, new_address
from edgechat.local.web import WebServer
from edgechat.tests.raw_client import TCP_CLOSED, RawClient
from edgechat.tests.web_settings import SLOW_READERS

StartWeb = Callable[..., WebServer]
Connect = Callable[..., RawClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(RawClient(url, **options))


def test_a_client_that_does_not_read_is_cut(
    connect: Connect, web_with: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    url = web_with(**SLOW_READERS)
    stuck = connect(url, buffer=4096)
    trickling = connect(url, buffer=4096)
    for client in (stuck, trickling):
        for _ in range(5):
            client.begin("GET", "openapi.json")

    def read_a_little() -> bool:
        with contextlib.suppress(ConnectionError):
            trickling.sock.recv(10)
        return trickling.state == TCP_CLOSED

    eventually(lambda: stuck.state == TCP_CLOSED)
    eventually(read_a_little)
    # A client that reads slowly, but reads, gets the whole answer.
    patient = connect(url, buffer=4096)
    patient.begin("GET", "openapi.json")
    assert len(patient.answer().content) > 100_000


def test_an_upload_that_came_fast_may_not_stop_for_minutes(
    connect: Connect, web_with: Callable[..., str], register: Callable[..., Person]
) -> None:
    url = web_with(**SLOW_READERS)
    client = connect(url, token=register("carol", url).tokens["access_token"])
    # A mean of 4 KB a second would allow another 17 minutes.
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + b"x" * 4_000_000
    kind = "multipart/form-data; boundary=b"
    client.begin("POST", "chat/attachments", body, Content_Type=kind, Content_Length=9_000_000)
    answer = client.answer()
    assert (answer.status, answer.code) == (400, "malformed_request")
    assert client.is_closed()


def test_a_follower_that_does_not_read_is_cut_and_the_reply_goes_on(
    connect: Connect, web_with: Callable[..., str], register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    url = web_with(**SLOW_READERS)
    carol = register("carol", url)
    conversation = carol.new_conversation(title="Talk")
    client = connect(url, token=carol.tokens["access_token"], buffer=4096)
    content = json.dumps({"content": "[[chunks=20]] " + "\U0001f600" * 30_000}, ensure_ascii=False).encode()
    client.begin(
        "POST",
        f"chat/conversations/{conversation}/messages",
        content,
        Content_Type="application/json",
        Accept="text/event-stream",
        Content_Length=len(content),
    )
    eventually(lambda: client.state == TCP_CLOSED)
    eventually(lambda: [one["status"] for one in carol.messages(conversation)["messages"]][1:] == ["complete"])


def test_an_address_has_a_bounded_number_of_connections(
    connect: Connect, start_web: StartWeb, eventually: Callable[..., Any]
) -> None:
    web = start_web(MAX_CONNECTIONS_PER_ADDRESS="4", TRUSTED_PROXY_COUNT="0")

    def is_admitted() -> bool:
        with RawClient(web.url) as client:
            client.begin("GET", "auth/me")
            answer = client.answer()
            assert answer.status in (401, 429)
            if answer.status == 429:
                assert (answer.code, answer.headers["Retry-After"]) == ("rate_limited", "1")
                assert client.is_closed()
            return answer.status == 401

    # The server closes the connections of ended requests a little later.
    eventually(lambda: not _connections(web))
    clients = [connect(web.url) for _ in range(4)]
    eventually(lambda: len(_connections(web)) == 4)
    eventually(lambda: not is_admitted())
    clients[0].sock.close()
    eventually(is_admitted)


def _connections(web: WebServer) -> list[Any]:
    port = int(web.address.split(":")[1])
    (pid,) = web.pids
    return [
        one
        for one in psutil.Process(pid).net_connections("tcp")
        if one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
    ]


def test_behind_a_proxy_an_address_has_a_bounded_number_of_requests(
    connect: Connect, start_web: StartWeb, register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    web = start_web(MAX_CONNECTIONS_PER_ADDRESS="3")
    token = register("carol", web.url).tokens["access_token"]
    home = new_address()["X-Forwarded-For"]
    uploads = [connect(web.url, token=token, address=home) for _ in range(3)]
    for upload in uploads:
        upload.begin(
            "POST",
            "chat/attachments",
            Content_Type="multipart/form-data; boundary=b",
            Content_Length=1000,
            Expect="100-continue",
        )
        assert upload.answer().status == 100
    client = connect(web.url, token=token, address=home)
    client.begin("GET", "auth/me")
    answer = client.answer()
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (429, "rate_limited", "1")
    for path, address in (("health", home), ("auth/me", new_address()["X-Forwarded-For"])):
        other = connect(web.url, token=token, address=address)
        other.begin("GET", path)
        assert other.answer().status == 200
    uploads[0].sock.close()

    def is_admitted() -> bool:
        client.begin("GET", "auth/me")
        return client.answer().status == 200

    eventually(is_admitted)
