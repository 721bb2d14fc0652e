"""Redis as a cluster: the keys of a command, script or transaction share one slot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from conftest import Person
from conversations.tests.events import EVENT_STREAM, read_events, text_of
from edgechat.local.valkey import Valkey
from edgechat.local.web import WebServer
from edgechat.tests.own_stores import OwnStores


class ValkeyCluster(Valkey):
    """A cluster of one node, which refuses commands across slots as every cluster does."""

    def command(self, port: int) -> list[str]:
        program, configuration = super().command(port)
        with Path(configuration).open("a") as file:
            file.write("cluster-enabled yes\ncluster-node-timeout 500\n")
        return [program, configuration]

    def check(self) -> None:
        super().check()
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            if client.cluster("INFO")["cluster_slots_assigned"] == "0":
                client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            if client.cluster("INFO")["cluster_state"] != "ok":
                raise OSError("The cluster is not ready yet")


@pytest.fixture
def own_valkey(data_dir: Path) -> Iterator[Valkey]:
    valkey = ValkeyCluster(data_dir, durable=False, name="valkey-cluster")
    valkey.start()
    yield valkey
    valkey.kill()


@pytest.mark.faults
def test_nothing_spans_slots(
    own_valkey: Valkey,
    own_stores: OwnStores,
    start_web: Callable[..., WebServer],
    register: Callable[..., Person],
    eventually: Callable[..., Any],
) -> None:
    webs = [start_web(workers=1, **own_stores.env, AI_CACHE_SECONDS="60") for _ in range(2)]
    alice, bob = register("alice", webs[0].url), register("bob", webs[0].url)
    for _ in range(2):
        answer = alice.post("ai/complete", json={"prompt": "hello"})
        assert answer.json()["text"] == "Echo: hello"
    assert answer.json()["cached"] is True
    # Meanwhile, one process renews the reply slots of two users.
    text = "[[chunks=40]][[gap=0.1]]" + "word " * 40
    path = f"chat/conversations/{alice.new_conversation()}/messages"
    other = f"chat/conversations/{bob.new_conversation()}/messages"
    with (
        bob.stream("POST", other, json={"content": text}, headers=EVENT_STREAM) as others,
        alice.stream("POST", path, json={"content": text}, headers=EVENT_STREAM) as answer,
    ):
        written = read_events(answer.iter_lines())
        mid = next(told for told in written if told.get("event") == "message")["data"]["model_message"]["id"]
        url = f"{webs[1].url}/api/v1/{path}/{mid}/stream"
        with alice.stream("GET", url) as follower:
            events = list(read_events(follower.iter_lines()))
        final = list(written)[-1]["data"]
        others.read()
    assert text_of(events) == final["content"]
    # From the stored message alone, the text would arrive in two or three pieces.
    assert len([told for told in events if told.get("event") == "delta"]) > 5
    eventually(lambda: alice.get("usage/me").json()["total_requests"] > 5)
    assert alice.delete("users/me").status_code == 204
    for web in webs:
        assert "CROSSSLOT" not in web.log_text()
        assert "not_renewed" not in web.log_text()
