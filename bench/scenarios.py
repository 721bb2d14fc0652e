"""The kinds of scenarios: requests per second, and simultaneous calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from bench.site import Load, Site

CONNECTIONS = 16
LONG_CONVERSATION = 1000  # messages


@dataclass(frozen=True)
class Target:
    """The project's target for a figure."""

    value: float
    at_least: bool

    def holds(self, value: float) -> bool:
        return value >= self.value if self.at_least else value <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.value:g}"


@dataclass(frozen=True)
class Measured:
    """One round's figure, and the load that produced it, if any."""

    value: float
    load: Load | None = None


class Scenario(ABC):
    """One row of the table, the median of its rounds. `title` is the figure's name, `unit` its unit."""

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str]
    target: ClassVar[Target | None] = None

    @abstractmethod
    def prepare(self, site: Site) -> None:
        """Create the data that `measure` needs, and bring every worker to its usual state. Called before all rounds."""

    @abstractmethod
    def measure(self, site: Site) -> Measured:
        """One round."""


class Throughput(Scenario):
    """Requests per second with a few clients that send the next request as soon as they have an answer."""

    unit = "req/s"
    seconds: ClassVar[float] = 2.0
    contains: ClassVar[str] = ""

    def __init__(self) -> None:
        self._requests: list[str] = []

    @abstractmethod
    def requests(self, site: Site) -> Iterable[str]:
        """The clients' requests, in turns."""

    def prepare(self, site: Site) -> None:
        self._requests = list(self.requests(site))
        self._load(site, 0.5)

    def measure(self, site: Site) -> Measured:
        load = self._load(site, self.seconds)
        return Measured(load.result.rate, load)

    def _load(self, site: Site, seconds: float) -> Load:
        return site.load(self._requests, connections=CONNECTIONS, seconds=seconds, contains=self.contains)


class Health(Throughput):
    name = "health"
    title = "GET /health"

    def requests(self, site: Site) -> Iterable[str]:
        return [site.request("GET", "health")] * CONNECTIONS


class Me(Throughput):
    name = "me"
    title = "GET /auth/me"
    target: ClassVar[Target | None] = Target(800, at_least=True)

    def requests(self, site: Site) -> Iterable[str]:
        return [site.request("GET", "auth/me", person=site.person(number)) for number in range(CONNECTIONS)]


class ConversationList(Throughput):
    name = "list"
    title = "GET /chat/conversations, 20 of 30"

    def requests(self, site: Site) -> Iterable[str]:
        people = 8
        site.new_conversations(30 * people, people=people)
        return [
            site.request("GET", "chat/conversations", person=site.person(number % people))
            for number in range(CONNECTIONS)
        ]


class HistoryPage(Throughput):
    name = "history"
    title = f"GET .../messages, 50 of {LONG_CONVERSATION}"
    contains = '"role":"model"'

    def requests(self, site: Site) -> Iterable[str]:
        person, conversation_id = site.new_conversations(1)[0]
        path = f"chat/conversations/{conversation_id}/messages"
        question = "A question of some length. " * 10
        exchange = site.request("POST", path, person=person, body={"content": f"{question}[[length=400]]"})
        site.load([exchange] * (LONG_CONVERSATION // 2), connections=1)
        places = ["latest=true", *(f"before={seq}" for seq in range(101, LONG_CONVERSATION, 101))]
        return [
            site.request("GET", f"{path}?limit=50&{places[number % len(places)]}", person=person)
            for number in range(2 * CONNECTIONS)
        ]


class Send(Throughput):
    name = "send"
    title = "POST .../messages, model answers at once"
    contains = '"status":"complete"'

    def requests(self, site: Site) -> Iterable[str]:
        return [
            site.request(
                "POST", f"chat/conversations/{conversation_id}/messages", person=person, body={"content": "Hi"}
            )
            for person, conversation_id in site.new_conversations(4 * CONNECTIONS)
        ]


class Burst(Scenario):
    """Seconds until the last of many simultaneous calls is answered, each of which waits one second for the model."""

    unit = "s"
    count: ClassVar[int]
    contains: ClassVar[str]

    def __init__(self) -> None:
        self._requests: list[str] = []

    @abstractmethod
    def request(self, site: Site, number: int) -> str:
        """The request of one client."""

    def prepare(self, site: Site) -> None:
        self._requests = [self.request(site, number) for number in range(self.count)]
        site.load(self._requests[:20], connections=20)

    def measure(self, site: Site) -> Measured:
        load = site.load(self._requests, connections=self.count, contains=self.contains)
        return Measured(load.result.seconds, load)


class Sends(Burst):
    contains = '"status":"complete"'

    def prepare(self, site: Site) -> None:
        self._conversations = site.new_conversations(self.count)
        super().prepare(site)

    def request(self, site: Site, number: int) -> str:
        person, conversation_id = self._conversations[number]
        path = f"chat/conversations/{conversation_id}/messages"
        return site.request("POST", path, person=person, body={"content": "Hello [[delay=1]]"})


class Sends200(Sends):
    name = "sends-200"
    title = "200 sends at once, model takes 1 s"
    count = 200


class Sends1000(Sends):
    name = "sends-1000"
    title = "1000 sends at once, model takes 1 s"
    count = 1000
    target = Target(15, at_least=False)


class Completions(Burst):
    contains = '"finish_reason":"STOP"'

    def request(self, site: Site, number: int) -> str:
        return site.request(
            "POST", "ai/complete", person=site.person(number), body={"prompt": f"Hello {number} [[delay=1]]"}
        )


class Completions200(Completions):
    name = "complete-200"
    title = "200 /ai/complete at once, model takes 1 s"
    count = 200


class Completions1000(Completions):
    name = "complete-1000"
    title = "1000 /ai/complete at once, model takes 1 s"
    count = 1000
    target = Target(15, at_least=False)
