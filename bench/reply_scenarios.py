"""Figures of streamed replies, and of lists whose cost must not grow with their length."""

from __future__ import annotations

import os
import secrets
import statistics
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import httpx2
from pymongo import MongoClient

from bench.scenarios import Burst, Measured, Scenario, Target
from bench.site import Person, Site, run_stream_reader

WORDS = "word " * 20
DELTA_STREAMS = 100


class Streams1000(Burst):
    name = "streams-1000"
    title = "1000 sends streamed at once, 20 chunks over 4 s"
    count = 1000
    contains = "event: done"
    target = Target(15, at_least=False)

    def prepare(self, site: Site) -> None:
        self._conversations = site.new_conversations(self.count)
        super().prepare(site)

    def request(self, site: Site, number: int) -> str:
        person, conversation_id = self._conversations[number]
        return _stream_request(site, person, conversation_id, "")


class CompleteStreams1000(Burst):
    """The same without MongoDB, whose stand-in uses as much CPU time as the web processes."""

    name = "complete-streams-1000"
    title = "1000 /ai/complete streamed at once, 20 chunks over 4 s"
    count = 1000
    contains = "event: done"
    target = Target(15, at_least=False)

    def request(self, site: Site, number: int) -> str:
        body = {"prompt": f"[[chunks=20]][[gap=0.2]]{number} {WORDS}"}
        return site.request("POST", "ai/complete?stream=true", person=site.person(number), body=body)


class DeltaDelay(Scenario):
    """The time from the model's sending of a chunk to its arrival at the client, both on this machine's clock."""

    name = "delta-delay"
    title = f"delay of a delta behind the model's chunk, {DELTA_STREAMS} streams"
    unit = "ms"
    target = Target(50, at_least=False)

    def prepare(self, site: Site) -> None:
        self._conversations = site.new_conversations(DELTA_STREAMS)

    def measure(self, site: Site) -> Measured:
        return Measured(statistics.median(delays_of_deltas(site, self._conversations)))


def delays_of_deltas(site: Site, conversations: Sequence[tuple[Person, str]], *, chunks: int = 20) -> list[float]:
    """Delays of one stream in each of these conversations, started together, a chunk every 0.2 s; in milliseconds."""
    marker = secrets.token_hex(8)
    markers = [f"{marker}{number}." for number in range(len(conversations))]
    requests = [
        _stream_request(site, person, conversation_id, mark, chunks=chunks)
        for (person, conversation_id), mark in zip(conversations, markers, strict=True)
    ]
    arrived = run_stream_reader(site.address, requests)
    sent = {call["text"]: call["chunk_times"] for call in _model_calls(marker)}
    delays: list[float] = []
    for mark, times in zip(markers, arrived, strict=True):
        chunk_times = next(each for text, each in sent.items() if mark in text)
        # One delta may carry several chunks: each delta is compared with the latest chunk before it.
        delays += [at - max((chunk for chunk in chunk_times if chunk <= at), default=at) for at in times]
    return [delay * 1000 for delay in delays]


class Growth(Scenario):
    """How much longer the same request takes with 10,000 messages than with 10: the ratio of the medians."""

    unit = "x"
    target = Target(1.3, at_least=False)
    seconds: ClassVar[float] = 1.5

    def prepare(self, site: Site) -> None:
        self._few, self._many = (self.request_with(site, count) for count in (10, 10_000))

    def measure(self, site: Site) -> Measured:
        medians = []
        for request in (self._few, self._many, self._many, self._few):
            medians.append(site.load([request], connections=1, seconds=self.seconds).result.p50)
        return Measured((medians[1] + medians[2]) / (medians[0] + medians[3]))

    @abstractmethod
    def request_with(self, site: Site, messages: int) -> str:
        """The request to time, in a conversation with that many messages."""


class HistoryGrowth(Growth):
    name = "history-growth"
    title = "history page of 10: 10,000 messages against 10"

    def request_with(self, site: Site, messages: int) -> str:
        person, conversation_id = site.new_conversations(1)[0]
        _fill(site, person, conversation_id, messages)
        return site.request("GET", f"chat/conversations/{conversation_id}/messages?latest=true&limit=10", person=person)


class ListGrowth(Growth):
    name = "list-growth"
    title = "conversation list: 10,000 messages in its last one against 10"

    def request_with(self, site: Site, messages: int) -> str:
        # Users with the same other conversations, each with one conversation of that many messages on top.
        person, conversation_id = site.new_conversations(2, people=2)[messages > 10]
        _fill(site, person, conversation_id, messages)
        return site.request("GET", "chat/conversations", person=person)


def _stream_request(site: Site, person: Person, conversation_id: str, marker: str, *, chunks: int = 20) -> str:
    path = f"chat/conversations/{conversation_id}/messages?stream=true"
    content = f"[[chunks={chunks}]][[gap=0.2]]{marker} {'word ' * chunks}"
    return site.request("POST", path, person=person, body={"content": content})


def _model_calls(contains: str) -> list[dict[str, Any]]:
    url = f"{os.environ['GEMINI_BASE_URL']}/scripted/calls"
    key = {"x-goog-api-key": os.environ["GEMINI_API_KEY"]}
    answer = httpx2.get(url, params={"contains": contains}, headers=key, trust_env=False)
    calls: list[dict[str, Any]] = answer.json()["calls"]
    return calls


def _fill(site: Site, person: Person, conversation_id: str, messages: int) -> None:
    """Give a conversation that many messages: one exchange is sent, and direct inserts copy it."""
    path = f"chat/conversations/{conversation_id}/messages"
    site.load([site.request("POST", path, person=person, body={"content": WORDS})], connections=1)
    with MongoClient[dict[str, Any]](os.environ["MONGODB_URL"]) as client:
        database = client["edgechat"]
        pair = sorted(database["messages"].find({"conversation_id": conversation_id}), key=lambda each: each["seq"])
        for first in range(3, messages + 1, 1000):
            copies = [
                {**pair[(seq - 1) % 2], "_id": f"{conversation_id}:{seq:08d}", "seq": seq}
                for seq in range(first, min(first + 1000, messages + 1))
            ]
            database["messages"].insert_many(copies)
        database["conversations"].update_one(
            {"_id": conversation_id}, {"$set": {"next_seq": messages + 1, "message_count": messages}}
        )
