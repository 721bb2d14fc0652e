"""What counting and limiting take of each request."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.scenarios import CONNECTIONS, Measured, Scenario, Target
from bench.site import Site


class RequestOverhead(Scenario):
    name = "request-overhead"
    title = "CPU of counting and limiting one request"
    unit = "ms"
    target = Target(0.3, at_least=False)

    def prepare(self, site: Site) -> None:
        """It brings itself to its usual state."""

    def measure(self, site: Site) -> Measured:
        return Measured(_overhead()["cpu_milliseconds"])


class RequestRoundTrips(Scenario):
    name = "request-round-trips"
    title = "answers of Redis that counting and limiting wait for"
    unit = "a request"
    target = Target(1, at_least=False)

    def prepare(self, site: Site) -> None:
        """As above."""

    def measure(self, site: Site) -> Measured:
        return Measured(_overhead()["round_trips"])


class RequestCommands(Scenario):
    name = "redis-commands"
    title = "commands that Redis runs for GET /auth/me, in scripts too"
    unit = "a request"

    def prepare(self, site: Site) -> None:
        people = [site.person(number) for number in range(CONNECTIONS)]
        self._requests = [site.request("GET", "auth/me", person=person) for person in people]
        site.load(self._requests, connections=CONNECTIONS, seconds=0.5)

    def measure(self, site: Site) -> Measured:
        before = site.redis_commands()
        load = site.load(self._requests, connections=CONNECTIONS, seconds=2.0)
        return Measured((site.redis_commands() - before).total() / load.result.answered, load)


def _overhead() -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.request_overhead"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
