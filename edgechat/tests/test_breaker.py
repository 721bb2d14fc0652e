"""Only one thread at a time tries a store that failed."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

import edgechat.stores.redis
from conftest import at_once
from edgechat.stores.breaker import Breaker
from edgechat.stores.redis import GuardedConnection, redis_client


@pytest.fixture
def breaker(monkeypatch: pytest.MonkeyPatch) -> Breaker:
    """A new breaker for Redis, used by this test only. Its pauses last until `end_pause`, on a slow machine too."""
    monkeypatch.setattr("edgechat.stores.breaker.PAUSE_SECONDS", 600.0)
    mine = Breaker("mongo")
    monkeypatch.setattr(edgechat.stores.redis, "_breaker", mine)
    return mine


def end_pause(breaker: Breaker) -> None:
    breaker._next_attempt_at = 0.0


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts connections and never answers, like a stopped one."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        server.setblocking(False)
        yield server


def connections(server: socket.socket) -> int:
    count = 0
    try:
        while True:
            server.accept()[0].close()
            count += 1
    except BlockingIOError:
        return count


def test_after_a_failure_one_tries_each_second(breaker: Breaker) -> None:
    assert [breaker.allows() for _ in range(3)] == [True] * 3
    breaker.trip()
    assert [breaker.allows() for _ in range(3)] == [False] * 3
    for _ in range(2):
        end_pause(breaker)
        assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.reset()
    assert [breaker.allows() for _ in range(3)] == [True] * 3


def test_redis_that_is_silent_is_asked_by_one_at_a_time(breaker: Breaker, silent: socket.socket) -> None:
    host, port = silent.getsockname()
    pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
        connection_class=GuardedConnection,
        max_connections=16,
        host=host,
        port=port,
        socket_timeout=0.3,
        retry=Retry(NoBackoff(), 0),
    )
    client = redis.Redis(connection_pool=pool)

    def ask(_: int) -> None:
        with pytest.raises(redis.RedisError):
            client.ping()

    ask(0)
    assert connections(silent) == 1
    at_once(10, ask)
    assert connections(silent) == 0
    end_pause(breaker)
    at_once(10, ask)
    assert connections(silent) == 1
    pool.disconnect()


def test_redis_that_answers_is_asked_by_all(breaker: Breaker, web_url: str) -> None:
    breaker.trip()
    with pytest.raises(redis.ConnectionError):
        redis_client().ping()
    end_pause(breaker)
    assert redis_client().ping()
    assert [breaker.allows() for _ in range(3)] == [True] * 3
    breaker.trip()
    end_pause(breaker)
    with pytest.raises(redis.ResponseError):  # an error answer is an answer, too
        redis_client().eval("return redis.error_reply('ERR')", 0)
    assert [breaker.allows() for _ in range(3)] == [True] * 3


def test_a_connection_that_redis_has_closed_is_opened_again(web_url: str) -> None:
    client = redis_client()
    mine = client.client_id()
    with redis.Redis.from_url(settings.REDIS_URL) as other:
        other.client_kill_filter(_id=mine)
    assert client.ping()
    assert client.client_id() != mine
