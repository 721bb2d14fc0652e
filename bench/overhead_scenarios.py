"""The cost of what EdgeChat does for each request, and for each call to the model."""

from __future__ import annotations

from typing import Any, ClassVar

from bench.scenarios import Measured, Scenario, Target
from bench.site import Site, run_module


class _Overhead(Scenario):
    module: ClassVar[str] = "bench.request_overhead"
    only_head = True

    def prepare(self, site: Site) -> None:
        """The process reaches its usual state by itself."""

    def figures(self, site: Site) -> Any:
        return run_module(self.module, env=site.env)


class RequestOverhead(_Overhead):
    name = "request-overhead"
    title = "CPU of counting and limiting one request"
    unit = "ms"
    target = Target(0.3)

    def measure(self, site: Site) -> Measured:
        return Measured(self.figures(site)["cpu_milliseconds"])


class RequestRoundTrips(_Overhead):
    name = "request-round-trips"
    title = "answers of Redis that counting and limiting wait for"
    unit = "a request"
    target = Target(2)

    def measure(self, site: Site) -> Measured:
        return Measured(self.figures(site)["round_trips"])


class CountingShare(_Overhead):
    name = "counting-share"
    title = "of the CPU of GET /auth/me, what limiting and counting it take"
    unit = "%"

    def measure(self, site: Site) -> Measured:
        requests = [site.request("GET", "auth/me", person=site.person(number)) for number in range(16)]
        load = site.load(requests, connections=16, seconds=site.seconds)
        return Measured(100 * self.figures(site)["cpu_milliseconds"] / load.cpu_milliseconds, load)


class MetricsShare(_Overhead):
    name = "metrics-share"
    title = "of the CPU of GET /auth/me, what its metrics take"
    unit = "%"
    module = "bench.metrics_overhead"
    target = Target(3)

    def measure(self, site: Site) -> Measured:
        requests = [site.request("GET", "auth/me", person=site.person(number)) for number in range(16)]
        load = site.load(requests, connections=16, seconds=site.seconds)
        figures = self.figures(site)
        more = {"CPU of them, ms": figures["cpu_milliseconds"], "CPU of a scrape, ms": figures["scrape_milliseconds"]}
        return Measured(100 * figures["cpu_milliseconds"] / load.cpu_milliseconds, load, more=more)


class ModelCallOverhead(_Overhead):
    name = "model-call-overhead"
    title = "CPU of a streamed call to the model and its ledger entry, above google-genai's own"
    unit = "ms"
    module = "bench.model_call"

    def measure(self, site: Site) -> Measured:
        figures = self.figures(site)
        return Measured(figures["metered"] - figures["sdk"])
