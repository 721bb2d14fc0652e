"""The cost of what EdgeChat does for each request, and for each call to the model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.scenarios import CONNECTIONS, Me, Measured, Scenario, Send, Target
from bench.site import Site


class RequestOverhead(Scenario):
    name = "request-overhead"
    title = "CPU of counting and limiting one request"
    unit = "ms"
    target = Target(0.3, at_least=False)

    def prepare(self, site: Site) -> None:
        """The process reaches its usual state by itself."""

    def measure(self, site: Site) -> Measured:
        return Measured(_figures("bench.request_overhead")["cpu_milliseconds"])


class RequestRoundTrips(Scenario):
    name = "request-round-trips"
    title = "answers of Redis that counting and limiting wait for"
    unit = "a request"
    target = Target(2, at_least=False)

    def prepare(self, site: Site) -> None:
        """As above."""

    def measure(self, site: Site) -> Measured:
        return Measured(_figures("bench.request_overhead")["round_trips"])


class CountingShare(Me):
    name = "counting-share"
    title = "of the CPU of GET /auth/me, what limiting and counting it take"
    unit = "%"
    target = None

    def measure(self, site: Site) -> Measured:
        load = self._load(site, self.seconds)
        return Measured(100 * _figures("bench.request_overhead")["cpu_milliseconds"] / load.cpu_milliseconds, load)


class RequestCommands(Me):
    name = "redis-commands"
    title = "commands that Redis runs for GET /auth/me, in scripts too"
    unit = "a request"
    target = None

    def measure(self, site: Site) -> Measured:
        before = site.redis_commands()
        load = self._load(site, self.seconds)
        return Measured((site.redis_commands() - before).total() / load.result.answered, load)


class ModelCallOverhead(Scenario):
    name = "model-call-overhead"
    title = "CPU of a streamed call to the model and its ledger entry, above google-genai's own"
    unit = "ms"
    target = None

    def prepare(self, site: Site) -> None:
        """As above."""

    def measure(self, site: Site) -> Measured:
        figures = _figures("bench.model_call")
        return Measured(figures["metered"] - figures["sdk"])


class SendStatements(Send):
    """The session with its user, the reservation, and the settlement."""

    name = "send-statements"
    title = "statements to PostgreSQL for POST .../messages"
    unit = "a request"
    target = Target(3, at_least=False)

    def prepare(self, site: Site) -> None:
        super().prepare(site)
        site.load(self._requests, connections=CONNECTIONS)  # a user's first call to the model makes more statements

    def measure(self, site: Site) -> Measured:
        before = site.statements()
        load = site.load(self._requests, connections=CONNECTIONS)
        ran = site.statements() - before
        # Statements of periodic tasks run less than once for two requests.
        return Measured(sum(round(count / load.result.answered) for count in ran.values()), load)


class CompleteStatements(SendStatements):
    name = "complete-statements"
    title = "statements to PostgreSQL for POST /ai/complete"
    contains = '"finish_reason":"STOP"'

    def requests(self, site: Site) -> Iterable[str]:
        for number in range(4 * CONNECTIONS):
            yield site.request("POST", "ai/complete", person=site.person(number), body={"prompt": f"Hi {number}"})


def _figures(module: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", module],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
