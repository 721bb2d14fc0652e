"""The cost of what EdgeChat does for each request, and for each call to the model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.scenarios import Me, Measured, Scenario, Target
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
