"""Many simultaneous clients cause no server fault, and no database connection is leaked or held during a model call."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

from django.db import connection

from conftest import Person, at_once, new_address
from edgechat.local.web import WebServer


def connections(name: str) -> list[str]:
    """The state of each of the application's PostgreSQL connections."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM pg_stat_activity WHERE application_name = %s", [name])
        return [row[0] for row in cursor.fetchall()]


def database_url(name: str) -> str:
    return f"{os.environ['DATABASE_URL']}?application_name={name}"


def test_many_clients_at_once_leave_no_connection_behind(
    start_web: Callable[..., WebServer], eventually: Callable[..., Any]
) -> None:
    """More clients than the pool has connections."""
    web = start_web(DATABASE_URL=database_url("crowd"))

    def client(number: int) -> list[int]:
        person = Person(web.url, f"client{number}")
        statuses = []
        try:
            conversation = person.new_conversation(title="Talk")
            path = f"chat/conversations/{conversation}"
            for turn in range(2):
                directive = ("[[status=503]]", "[[delay=0.2]]")[(number + turn) % 2]
                statuses.append(person.say(conversation, f"turn {turn} {directive}").status_code)
                statuses.append(person.get(f"{path}/messages?latest=true").status_code)
            answer = person.post("auth/refresh", json={"refresh_token": person.tokens["refresh_token"]})
            statuses.append(answer.status_code)
            statuses += [person.get(one).status_code for one in ("usage/me", "chat/conversations", "nothing", path)]
            statuses.append(person.patch("users/me", json={"full_name": f"Client {number}"}).status_code)
            statuses.append(person.post("ai/complete", json={"prompt": "hello"}).status_code)
            statuses.append(person.delete(path).status_code)
            if number % 3 == 0:
                statuses.append(person.delete("users/me").status_code)
        finally:
            person.close()
        return statuses

    for number, statuses in enumerate(at_once(15, client)):
        assert sorted(status for status in statuses if status >= 400) == [404, 503], (number, statuses)
    eventually(lambda: set(connections("crowd")) <= {"idle"})
    assert 1 <= len(connections("crowd")) <= 10, "no more than the pool has"


def test_one_connection_serves_everybody_while_replies_are_written(
    start_web: Callable[..., WebServer], register: Callable[..., Person]
) -> None:
    # If a call held the connection, the eighth request would need 14 s, and would be refused after 5.
    web = start_web(DATABASE_URL=database_url("single"), DATABASE_POOL_SIZE="1")
    people = [register(f"client{number}", web.url) for number in range(4)]
    conversations = [person.new_conversation(title="Talk") for person in people]

    def call(number: int) -> int:
        person = people[number % 4]
        if number < 4:
            return person.say(conversations[number], "hello [[delay=2]]").status_code
        if number < 8:
            return person.post("ai/complete", json={"prompt": "hello [[delay=2]]"}).status_code
        return person.get("auth/me").status_code

    assert at_once(16, call) == [200] * 16
    assert len(connections("single")) == 1


def test_slow_strangers_keep_nobody_waiting(start_web: Callable[..., WebServer]) -> None:
    web = start_web(workers=1)
    host, port = web.address.split(":")
    for path in ("/admin/login/", "/api/v1/chat/attachments", "/api/v1/auth/login"):
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {web.address}\r\nX-Forwarded-For: {new_address()['X-Forwarded-For']}\r\n"
            f"Cookie: csrftoken={'a' * 32}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000000\r\n\r\n--b"
        )
        with ExitStack() as sockets:
            for _ in range(40):
                connection = sockets.enter_context(socket.create_connection((host, int(port)), timeout=10))
                connection.sendall(head.encode())
            with closing(Person(web.url, "carol")) as carol:
                assert carol.get("auth/me").status_code == 200
                assert carol.say(carol.new_conversation(), "hello").status_code == 200
