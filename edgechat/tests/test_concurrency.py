"""Many clients at once, on processes of their own with few database connections."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from django.conf import settings

from conftest import Person
from edgechat.local.web import WebServer

CLIENTS = 30
POOL_SIZE = 5
NAME = "concurrency-test"


def sessions() -> list[str]:
    """The states of the PostgreSQL connections that the web processes of this test have."""
    with psycopg.connect(settings.DATABASE_URL) as connection:
        rows = connection.execute("SELECT state FROM pg_stat_activity WHERE application_name = %s", [NAME]).fetchall()
    return [row[0] for row in rows]


def test_thirty_clients_at_once_get_no_5xx_and_leave_no_connection_behind(
    start_web: Callable[..., WebServer], eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    joint = "&" if "?" in settings.DATABASE_URL else "?"
    url = f"{settings.DATABASE_URL}{joint}application_name={NAME}"
    workers = 2
    web = start_web(workers=workers, DATABASE_URL=url, DATABASE_POOL_SIZE=str(POOL_SIZE))
    most = 0

    def use(number: int) -> list[int]:
        nonlocal most
        person = Person(web.url, f"client{number}")
        created = person.post("chat/conversations", json={"title": f"{number}"})
        conversation = created.json()["id"]
        statuses = [created.status_code]
        for turn in range(3):
            statuses.append(person.say(conversation, f"[[delay=0.2]]{number}-{turn}").status_code)
            page = person.get(f"chat/conversations/{conversation}/messages", params={"latest": "true", "limit": 2})
            statuses.append(page.status_code)
            said = [message["content"] for message in page.json()["messages"]]
            assert said == [f"[[delay=0.2]]{number}-{turn}", f"Echo: {number}-{turn}"]
            statuses.append(person.get("chat/conversations").status_code)
        most = max(most, len(sessions()))
        used = person.get("usage/me")
        statuses.append(used.status_code)
        # auth/me, and everything above but the call that tells.
        assert used.json()["total_requests"] == len(statuses)
        assert used.json()["tokens"]["total"] > 0
        person.close()
        return statuses

    with ThreadPoolExecutor(CLIENTS) as pool:
        told = [status for statuses in pool.map(use, range(CLIENTS)) for status in statuses]
    assert set(told) == {200, 201}
    assert 0 < most <= workers * POOL_SIZE
    eventually(lambda: set(sessions()) <= {"idle"})
    assert len(sessions()) <= workers * POOL_SIZE
