"""Pictures in a slow object store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import Person
from conversations.tests.test_attachments import picture, upload
from edgechat.tests.object_store import ObjectStore

Eventually = Callable[..., Any]
# More than the number of threads that a process lets work at the same time.
CALLS = 26


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    slow = ObjectStore()
    yield slow
    slow.close()


def test_a_slow_store_of_pictures_keeps_nobody_waiting_but_those_who_need_it(
    store: ObjectStore, start_web: Callable[..., Any], register: Callable[..., Person], eventually: Eventually
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
