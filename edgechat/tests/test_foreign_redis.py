"""Foreign data in Redis under EdgeChat's keys is skipped or deleted, and fails no request."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from django.utils import timezone

from conftest import Api, Person
from conversations.replies.remote import Piece, read_piece
from conversations.tests.events import EVENT_STREAM, read_events, text_of
from edgechat.http import notices
from edgechat.local.web import WebServer
from edgechat.tests.own_stores import OwnStores
from usage.models import HourlyUsage, RequestRecord
from usage.requests.request_stream import STREAM, AnsweredRequest

Eventually = Callable[..., Any]
ModelCalls = Callable[[str], list[dict[str, Any]]]
REGISTERED = 1  # the Person fixture has requested auth/me
LAST_ID = "18446744073709551615-18446744073709551615"


@pytest.fixture(scope="module")
def servers(module_stores: OwnStores) -> Iterator[tuple[WebServer, WebServer, redis.Redis]]:
    """Two web servers with their own Redis, which tests may corrupt."""
    folder = Path(tempfile.mkdtemp(prefix="edgechat-test-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        env = {**module_stores.env, "AI_CACHE_SECONDS": "300", "RATE_LIMIT_WINDOW_SECONDS": "60"}
        webs = [
            stack.enter_context(
                WebServer(env, data_dir=folder, workers=1, ready_path="/api/v1/health", name=f"web-{number}")
            )
            for number in range(2)
        ]
        yield webs[0], webs[1], redis.Redis.from_url(module_stores.redis_url)


@pytest.fixture
def carol(servers: tuple[WebServer, WebServer, redis.Redis], register: Callable[..., Person]) -> Person:
    return register("carol", servers[0].url)


@pytest.fixture
def spoilt(servers: tuple[WebServer, WebServer, redis.Redis]) -> redis.Redis:
    return servers[2]


def entry(person: Person, **changes: Any) -> dict[str, Any]:
    record = AnsweredRequest(user_id=person.id, at=timezone.now(), method="GET", route="x", status=200, milliseconds=1)
    arguments = record.as_arguments()
    return {**{str(name): value for name, value in zip(arguments[::2], arguments[1::2], strict=True)}, **changes}


def test_entries_that_are_no_requests_stop_no_counting(
    carol: Person, spoilt: redis.Redis, eventually: Eventually
) -> None:
    foreign: list[dict[Any, Any]] = [
        {"foo": "bar"},
        entry(carol, u="nobody"),
        entry(carol, u="9" * 5000),
        entry(carol, u=2**63),
        entry(carol, r=b"\xff\xfe"),
        entry(carol, r="nul\0"),
        entry(carol, t="nan"),
        entry(carol, t="1e300"),
        entry(carol, t=time.time() + 10 * 86400),
        entry(carol, s=99999),
        entry(carol, d=2**40),
        entry(carol, d=""),
        entry(carol, k="k" * 41),
        entry(carol, k=b"\xff"),
        entry(carol, r="r" * 1_000_000),
    ]
    for each in foreign:
        spoilt.xadd(STREAM, each)
    assert carol.get("usage/me").json()["total_requests"] == REGISTERED + 1
    assert carol.get("usage/me/daily").status_code == 200
    asked = REGISTERED + 3
    eventually(lambda: RequestRecord.objects.filter(user_id=carol.id).count() == asked)
    assert sum(HourlyUsage.objects.filter(user_id=carol.id).values_list("requests", flat=True)) == asked
    assert carol.get("usage/me").json()["total_requests"] == asked


@pytest.mark.parametrize("kind", ["a string", "the last id"])
def test_a_stream_of_requests_that_is_none_is_begun_anew(
    carol: Person, spoilt: redis.Redis, eventually: Eventually, kind: str
) -> None:
    if kind == "a string":
        spoilt.set(STREAM, "rubbish")
    else:
        spoilt.xadd(STREAM, {"foo": "bar"}, id=LAST_ID)
    assert [carol.get(path).status_code for path in ("usage/me", "usage/me/daily", "auth/me")] == [200] * 3

    def is_ours() -> bool:
        carol.get("auth/me")
        try:
            info: Any = spoilt.xinfo_stream(STREAM)
        except redis.ResponseError:  # there is no stream, or it is foreign
            return spoilt.type(STREAM) != b"string"
        return int(info["last-generated-id"].partition(b"-")[0]) < 2**60

    eventually(is_ours)
    asked = RequestRecord.objects.filter(user_id=carol.id).count()
    eventually(lambda: carol.get("auth/me") and RequestRecord.objects.filter(user_id=carol.id).count() > asked)


def test_a_kept_answer_that_is_none_is_made_anew(carol: Person, spoilt: redis.Redis, model_calls: ModelCalls) -> None:
    prompt = f"kept {uuid.uuid4().hex}"  # other tests' users have the same ids in other databases
    first = carol.post("ai/complete", json={"prompt": prompt}).json()
    [key] = list(spoilt.scan_iter(f"edgechat:ai:cache:{{{carol.id}}}:*"))
    foreign: list[Any] = ["", b"\xff\xfe", "[" * 100_000, "1", "null", "[]", "{}", '"text"', '{"text": 5}']
    answer = {"text": "bad", "model": "m", "finish_reason": "STOP"}
    foreign += [json.dumps({**answer, **changes}) for changes in ({"text": None}, {"more": 1}, {"text": "\ud800"})]
    foreign.append(json.dumps({**answer, "text": "x" * 9_000_000}))
    for number, each in enumerate(foreign, start=2):
        spoilt.set(key, each, ex=300)
        again = carol.post("ai/complete", json={"prompt": prompt})
        assert (again.status_code, again.json()["text"], again.json()["cached"]) == (200, first["text"], False)
        assert len(model_calls(prompt)) == number
    assert carol.post("ai/complete", json={"prompt": prompt}).json()["cached"]
    spoilt.delete(key)
    spoilt.hset(key, "a", "b")
    assert carol.post("ai/complete", json={"prompt": prompt}).json()["text"] == first["text"]


def test_a_lock_that_nobody_holds_keeps_nobody_waiting(carol: Person, spoilt: redis.Redis) -> None:
    prompt = f"lock-{carol.id}"
    carol.post("ai/complete", json={"prompt": prompt})
    [key] = list(spoilt.scan_iter(f"edgechat:ai:cache:{{{carol.id}}}:*"))
    for ttl in (None, 100_000):
        spoilt.delete(key)
        spoilt.set(key + b":lock", "somebody", ex=ttl)
        assert carol.post("ai/complete", json={"prompt": prompt}, timeout=30).status_code == 200


def test_an_index_that_is_none_keeps_no_account_from_being_deleted(
    carol: Person, spoilt: redis.Redis, eventually: Eventually
) -> None:
    index = f"edgechat:ai:cache:{{{carol.id}}}"
    foreign: dict[str | bytes, float] = {"somebody-elses": 1, b"\xff": 2}
    spoilt.set("somebody-elses", "stays")
    spoilt.zadd(index, foreign)  # type: ignore[type-var]
    carol.post("ai/complete", json={"prompt": f"index-{carol.id}"})
    spoilt.rename(index, f"{index}-other")
    spoilt.set(index, "rubbish")
    assert carol.post("ai/complete", json={"prompt": f"second-{carol.id}"}).status_code == 200
    assert carol.post("ai/complete", json={"prompt": f"third-{carol.id}"}).status_code == 200
    spoilt.zadd(index, foreign)  # type: ignore[type-var]
    assert carol.delete("users/me").status_code == 204
    assert not spoilt.exists(index)
    assert spoilt.get("somebody-elses") == b"stays"


@pytest.mark.parametrize("kind", ["a string", "members of no form", "held for ever"])
def test_slots_that_are_none_shut_nobody_out(carol: Person, spoilt: redis.Redis, kind: str) -> None:
    conversation = carol.new_conversation(title="Titled")
    for name in ("replies", "streams"):
        key = f"edgechat:slots:{name}:{carol.id}"
        now = time.time() * 1000
        spoilt.delete(key)
        if kind == "a string":
            spoilt.set(key, "rubbish")
        elif kind == "members of no form":
            spoilt.zadd(key, {f"member {number}": now + 10_000 for number in range(30)})
        else:
            spoilt.zadd(key, {f"group {number}/member": 1e300 for number in range(30)})
    for number in range(2):
        with carol.stream(
            "POST", f"chat/conversations/{conversation}/messages", json={"content": str(number)}, headers=EVENT_STREAM
        ) as answer:
            assert answer.status_code == 200
            assert list(read_events(answer.iter_lines()))[-1]["event"] == "done"


def test_a_counter_of_an_address_that_is_none_is_begun_anew(carol: Person, spoilt: redis.Redis) -> None:
    with Api(carol.origin) as client:
        for foreign in ("rubbish", str(2**63 - 1), "-50"):
            client.get("auth/me")
            for key in spoilt.scan_iter("edgechat:limit:*"):
                spoilt.set(key, foreign, ex=10**7 if foreign[0] == "9" else None)
            assert client.get("auth/me").status_code == 401
        login = {"email": carol.email, "password": carol.password}
        assert client.post("auth/login", json=login).status_code == 200
        assert list(spoilt.scan_iter("edgechat:limit:accounts.views.LoginView:*"))
        for key in list(spoilt.scan_iter("edgechat:limit:*")):
            spoilt.delete(key)
            spoilt.lpush(key, "rubbish")
        assert client.get("auth/me").status_code == 401
        assert client.post("auth/login", json=login).status_code == 200
        for text in (b'{"a": 1}', b"\x80\x04\x95", b"nan", b"1e300", b"x" * 1_000_000):
            for key in list(spoilt.scan_iter("edgechat:limit:*")):
                spoilt.set(key, text, ex=60)
            assert client.post("auth/login", json=login).status_code == 200


def test_pieces_of_somebody_else_disturb_no_stream(
    carol: Person, servers: tuple[WebServer, WebServer, redis.Redis], eventually: Eventually
) -> None:
    """One server writes the reply, and a client follows it at the other."""
    _, other, spoilt = servers
    conversation = carol.new_conversation(title="Titled")
    path = f"chat/conversations/{conversation}/messages"
    content = "[[chunks=60]][[gap=0.1]]" + "word " * 60
    with (
        Api(other.url, token=carol.tokens["access_token"]) as elsewhere,
        carol.stream("POST", path, json={"content": content}, headers=EVENT_STREAM) as writing,
    ):
        begun = read_events(writing.iter_lines())
        assert [next(begun).get("event") for _ in range(3)] == [None, "message", "delta"]
        mid = f"{conversation}:00000002"
        key = f"edgechat:reply:{notices.SLOT}:{mid}"
        spoilt.set(key, "rubbish")  # the key is deleted, and its pieces are published again
        eventually(lambda: spoilt.type(key) == b"stream")
        wakes = f"edgechat:replies:wake:{notices.SLOT}:*"
        with elsewhere.stream("GET", f"{path}/{mid}/stream") as following:
            told = read_events(following.iter_lines())
            assert [next(told).get("event") for _ in range(2)] == [None, "delta"]
            for foreign in (
                {"pause": "x"},
                {"a": "x", "o": 0, "t": "bad"},
                {"a": 1, "o": -5, "t": "bad"},
                {"a": 10**30, "o": 0, "t": "bad"},
                {"a": 1, "o": 0},
                {"a": 1, "o": 10**9, "t": "bad"},
                {"a": 1, "o": 0, "t": b"\xff\xfe"},
            ):
                spoilt.xadd(key, foreign)  # type: ignore[arg-type]
            # No entry can follow these, so the streams are deleted and started again.
            for full in (key, *spoilt.scan_iter(wakes)):
                spoilt.xadd(full, {"pause": "x"}, id=LAST_ID)
            events = list(told)
        final = list(begun)[-1]
    assert final["data"]["status"] == "complete"
    assert events[-1]["event"] == "done"
    assert {each["event"] for each in events if "event" in each} == {"delta", "done"}
    assert len([each for each in events if each.get("event") == "delta"]) > 20, "it went on live"
    assert "bad" not in text_of(events)
    for full in (key, *spoilt.scan_iter(wakes)):
        newest: Any = spoilt.xrevrange(full, count=1)
        assert all(int(entry_id.partition(b"-")[0]) < 2**60 for entry_id, _ in newest)


@pytest.mark.parametrize("kind", ["a string", "the last id"])
def test_notices_that_are_none_are_begun_anew(
    carol: Person, servers: tuple[WebServer, WebServer, redis.Redis], eventually: Eventually, kind: str
) -> None:
    _, _, spoilt = servers
    if kind == "a string":
        spoilt.set(notices.KEY, "rubbish")
    else:
        spoilt.xadd(notices.KEY, {"pause": "x"}, id=LAST_ID)

    def is_ours() -> bool:
        with carol.signed_in(carol.tokens["access_token"]) as client:
            body = {"email": carol.email, "password": carol.password}
            tokens = client.post("auth/login", json=body).json()
        with carol.signed_in(tokens["access_token"]) as client:
            assert client.post("auth/logout").status_code == 200
        newest: Any = spoilt.xrevrange(notices.KEY, count=1) if spoilt.type(notices.KEY) == b"stream" else []
        return bool(newest) and int(newest[0][0].partition(b"-")[0]) < 2**60

    eventually(is_ours)


def test_pieces_are_read_as_they_are_written_and_no_others() -> None:
    assert read_piece({b"a": b"2", b"o": b"5", b"t": "😀".encode()}) == Piece(2, 5, "😀")
    assert read_piece({b"a": b"2", b"e": b"1"}) == Piece(2, 0, None)
    for foreign in ({}, {b"e": b"1"}, {b"a": b"0", b"e": b"1"}, {b"a": b"1", b"o": b"0", b"t": b"x" * 3_000_000}):
        assert read_piece(foreign) is None
