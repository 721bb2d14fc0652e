"""The kinds of rows. `bench.rows` declares the rows themselves."""

from __future__ import annotations

import secrets
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from typing import Any, ClassVar

from bench.site import Load, Person, Site, run_module
from edgechat.local.web import WebServer


@dataclass(frozen=True)
class Target:
    """The project's target for a figure."""

    value: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        return value >= self.value if self.at_least else value <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.value:g}"


@dataclass(frozen=True)
class Measured:
    """One round's figure, the load that produced it, if any, and the figure's own floor in this round, if it has one.

    `more` are further figures by name, for example `p99 ms`.
    """

    value: float
    load: Load | None = None
    floor: float | None = None
    more: Mapping[str, float] = field(default_factory=dict)


class Scenario(ABC):
    """One row of the table, the median of its rounds. `title` is the figure's name, `unit` its unit.

    `floor` says how many calls of each kind in `bench.floor` a request needs at least, besides one bare request.
    """

    name: str
    title: str
    unit: str
    target: Target | None = None
    floor: Mapping[str, float] | None = None
    only_head: ClassVar[bool] = False  # measures this checkout's code in a process of its own, so never the base

    @abstractmethod
    def prepare(self, site: Site) -> None:
        """Create the data that `measure` needs, and bring every worker to its usual state. Called before all rounds."""

    @abstractmethod
    def measure(self, site: Site) -> Measured:
        """One round."""

    def details(self) -> str:
        """What the figure consists of, in Markdown, after all rounds. Empty: nothing more."""
        return ""


@dataclass
class Throughput(Scenario):
    """Requests per second of a few clients that send the next request as soon as they have an answer.

    `requests` makes the clients' requests from the site and the number of clients.
    """

    name: str
    title: str
    requests: Callable[[Site, int], list[str]]
    floor: Mapping[str, float] | None = None
    clients: int = 16
    contains: str = ""
    expect: int = 200
    target: Target | None = None
    unit: str = "req/s"

    def prepare(self, site: Site) -> None:
        self._made = self.requests(site, self.clients)
        self.load(site, 0.3)

    def measure(self, site: Site) -> Measured:
        self.load(site, 0.3)  # other rows have written since, and a list takes longer after a change
        load = self.load(site, site.seconds)
        return Measured(load.result.rate, load)

    def load(self, site: Site, seconds: float) -> Load:
        return site.load(
            self._made, connections=self.clients, seconds=seconds, expect=self.expect, contains=self.contains
        )


@dataclass
class Statements(Throughput):
    """Statements to PostgreSQL for each answer, when every client has been answered before."""

    unit: str = "a request"

    def prepare(self, site: Site) -> None:
        super().prepare(site)
        self.measure(site)  # a user's first call to the model makes more statements

    def measure(self, site: Site) -> Measured:
        load = site.load(self._made, connections=self.clients, contains=self.contains)
        # Those of periodic tasks are a fraction of one.
        return Measured(round(load.for_each()["commands.postgres"]), load)


@dataclass
class Percentile(Throughput):
    """The time that 95 of 100 requests of one client take at most."""

    clients: int = 1
    unit: str = "ms"

    def measure(self, site: Site) -> Measured:
        load = self.load(site, site.seconds)
        return Measured(load.result.p95, load)


@dataclass
class AddedLatency(Scenario):
    """What EdgeChat adds to the model's own time, of one client, in ms: the difference of the medians.

    The client repeats `count` different requests. With `deltas`, the time to the first delta counts instead of the time
    to the end.
    """

    name: str
    title: str
    requests: Callable[[Site, int], list[str]]
    text: str
    count: int = 1
    deltas: bool = False
    target: Target | None = None
    unit: str = "ms"

    def prepare(self, site: Site) -> None:
        self._made = self.requests(site, self.count)
        site.load(self._made, connections=1)  # a user's first call to the model makes more statements
        self._model = site.model_request(self.text, streaming=self.deltas)

    def measure(self, site: Site) -> Measured:
        address = site.env["GEMINI_BASE_URL"].removeprefix("http://")
        if self.deltas:
            # The scripted model sends all chunks together, so its whole answer is there as early as its first chunk.
            requests = islice(cycle(self._made), 1 + int(20 * site.seconds))
            load = site.load(list(requests), connections=1, deltas=True)
            waits = sorted((first - began) * 1000 for began, first, *_ in load.result.deltas)
            alone = site.load([self._model], connections=1, seconds=site.seconds / 2, address=address).result
            more = {"p99 ms": waits[int(0.99 * len(waits))] - alone.p99, "model p50 ms": alone.p50}
            return Measured(statistics.median(waits) - alone.p50, load, more=more)
        load = site.load(self._made, connections=1, seconds=site.seconds)
        alone = site.load([self._model], connections=1, seconds=site.seconds / 2, address=address).result
        more = {"p99 ms": load.result.p99 - alone.p99, "model p50 ms": alone.p50}
        return Measured(load.result.p50 - alone.p50, load, more=more)


@dataclass
class Burst(Scenario):
    """Seconds until the last of many simultaneous calls is answered. The floor is the same of the model alone."""

    name: str
    title: str
    count: int
    requests: Callable[[Site, int], list[str]]
    text: str
    contains: str
    target: Target | None = None
    mongo_floor: bool = False
    unit: str = "s"

    def prepare(self, site: Site) -> None:
        self._count = max(20, int(self.count * site.scale))
        self._made = self.requests(site, self._count)
        self._model = site.model_request(self.text, streaming="stream" in self.title)
        site.load(self._made[:20], connections=20)

    def measure(self, site: Site) -> Measured:
        site.watch.begin()
        idle = site.watch.peak.memory
        load = site.load(self._made, connections=self._count, contains=self.contains)
        if self.mongo_floor:
            floor = float(run_module("bench.floor", {"streams": self._count}, env=site.env))
        else:
            address = site.env["GEMINI_BASE_URL"].removeprefix("http://")
            alone = site.load([self._model] * self._count, connections=self._count, address=address)
            floor = alone.result.seconds
        kilobytes = (load.holding.memory - idle) * 1024 / self._count
        more = {"kB a call": kilobytes, "MiB": load.holding.memory}
        return Measured(load.result.seconds, load, floor, more)


@dataclass
class FastStreams(Scenario):
    """Deltas for each second of the workers' CPU, with their longest gap, of streams with a delta each 20 ms."""

    name: str
    title: str
    count: int
    seconds: float
    requests: Callable[[Site, int, int], list[str]]
    target: Target | None = None
    unit: str = "deltas/CPU s"

    def prepare(self, site: Site) -> None:
        self._count = max(8, int(self.count * site.scale))
        chunks = max(50, int(self.seconds * site.scale / 0.02))
        self._made = self.requests(site, self._count, chunks)

    def measure(self, site: Site) -> Measured:
        load = site.load(self._made, connections=self._count, contains="event: done", deltas=True)
        gaps = [
            max((later - earlier for earlier, later in pairwise(times[1:])), default=0.0)
            for times in load.result.deltas
        ]
        deltas = sum(len(times) - 1 for times in load.result.deltas)
        more = {
            "longest gap ms": max(gaps) * 1000,
            "streams with a gap above 250 ms": sum(gap > 0.25 for gap in gaps),
            "deltas a second": deltas / load.result.seconds,
        }
        return Measured(deltas / max(0.01, load.used["cpu.web"]), load, more=more)


@dataclass
class DeltaDelay(Scenario):
    """The time from the model's sending of a chunk to its arrival at the client, both on this machine's clock."""

    name: str
    title: str
    count: int
    target: Target | None = None
    unit: str = "ms"

    def prepare(self, site: Site) -> None:
        self._conversations = site.new_conversations(max(10, int(self.count * site.scale)))

    def measure(self, site: Site) -> Measured:
        return Measured(statistics.median(delays_of_deltas(site, self._conversations)))


@dataclass
class Growth(Scenario):
    """How much longer the same request takes with much data than with little: the ratio of the medians.

    `fill` makes the data of that size and returns the request to time.
    """

    name: str
    title: str
    few: int
    many: int
    fill: Callable[[Site, int], str]
    target: Target | None = field(default_factory=lambda: Target(1.2))
    unit: str = "x"

    def prepare(self, site: Site) -> None:
        self._few = self.fill(site, self.few)
        self._many = self.fill(site, max(self.few * 10, int(self.many * site.scale)))
        self.measure(site)

    def measure(self, site: Site) -> Measured:
        requests = (self._few, self._many, self._many, self._few)
        medians = [site.load([one], connections=1, seconds=site.seconds / 2).result.p50 for one in requests]
        return Measured((medians[1] + medians[2]) / (medians[0] + medians[3]))


@dataclass
class GrowthOfUsers(Scenario):
    """The same for a table that all requests share: each round is compared with the first figures, by `health`."""

    name: str
    title: str
    few: int
    many: int
    fill: Callable[[Site, int], None]
    requests: Callable[[Site, int], list[str]]
    target: Target | None = field(default_factory=lambda: Target(1.2))
    unit: str = "x"

    def prepare(self, site: Site) -> None:
        self._made = self.requests(site, 1)
        self.fill(site, self.few)
        self._first = statistics.median(self._relative(site) for _ in range(3))
        self.fill(site, max(self.few * 10, int(self.many * site.scale)))

    def measure(self, site: Site) -> Measured:
        return Measured(self._relative(site) / self._first)

    def _relative(self, site: Site) -> float:
        health = site.load([site.request("GET", "health")], connections=1, seconds=site.seconds / 2).result.p50
        return site.load(self._made, connections=1, seconds=site.seconds / 2).result.p50 / health


class StartTime(Scenario):
    """Seconds from the start of gunicorn with one worker to its first answer."""

    name = "start"
    title = "start of a web process"
    unit = "s"
    target = Target(2)

    def prepare(self, site: Site) -> None:
        """Everything exists."""

    def measure(self, site: Site) -> Measured:
        folder = site.web.folder.parent
        path = "/api/v1/health"
        web = WebServer(site.env, data_dir=folder, workers=1, project=site.project, name="start", ready_path=path)
        began = time.monotonic()
        try:
            web.start()
            return Measured(time.monotonic() - began)
        finally:
            web.stop()


def stream_request(site: Site, person: Person, conversation_id: str, content: str) -> str:
    path = f"chat/conversations/{conversation_id}/messages?stream=true"
    return site.request("POST", path, person=person, body={"content": content})


def delays_of_deltas(site: Site, conversations: Sequence[tuple[Person, str]], *, chunks: int = 20) -> list[float]:
    """Delays of one stream in each of these conversations, started together, a chunk every 0.2 s; in milliseconds."""
    marker = secrets.token_hex(8)
    markers = [f"{marker}{number}." for number in range(len(conversations))]
    script = f"[[chunks={chunks}]][[gap=0.2]]"
    requests = [
        stream_request(site, person, conversation_id, f"{script}{mark} {'word ' * chunks}")
        for (person, conversation_id), mark in zip(conversations, markers, strict=True)
    ]
    arrived = site.load(requests, connections=len(requests), contains="event: done", deltas=True).result.deltas
    sent: dict[str, Any] = {call["text"]: call["chunk_times"] for call in site.model_calls(marker)}
    delays: list[float] = []
    for mark, (_, *times) in zip(markers, arrived, strict=True):
        chunk_times = next(each for text, each in sent.items() if mark in text)
        # One delta may carry several chunks: each delta is compared with the latest chunk before it.
        delays += [at - max((chunk for chunk in chunk_times if chunk <= at), default=at) for at in times]
    return [delay * 1000 for delay in delays]
