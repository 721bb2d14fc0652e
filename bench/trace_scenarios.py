"""What traces cost: the same requests to web processes without traces, and with each kind of collector."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.bare import BareServer
from bench.load import Result
from bench.scenarios import Measured, Scenario
from bench.site import Site
from bench.watch import cpu_seconds
from edgechat.local.web import WebServer

CLIENTS = 8
OFF, COLLECTOR, DEAD, HANGS = "no traces", "a collector", "a dead collector", "a collector that hangs"


@dataclass
class Traces(Scenario):
    """How much more CPU an answer takes with traces, in percent of the CPU without; a web process for each kind.

    The kinds are measured in turn, twice in each round, and the second time in reverse order.
    """

    name: str
    title: str
    requests: Callable[[Site, int], list[str]]
    contains: str = ""
    unit: str = "%"

    def prepare(self, site: Site) -> None:
        self._made = self.requests(site, CLIENTS)

    def measure(self, site: Site) -> Measured:
        with _collectors(site) as urls:
            webs = {
                kind: WebServer(
                    {**site.env, "OTEL_EXPORTER_OTLP_ENDPOINT": url},
                    data_dir=site.web.folder.parent,
                    workers=1,
                    project=site.project,
                    name=f"traces-{number}",
                )
                for number, (kind, url) in enumerate(urls.items())
            }
            try:
                for web in webs.values():
                    web.start()
                    self._load(site, web, 0.3)
                cpu, answers, rates = (dict.fromkeys(webs, 0.0) for _ in range(3))
                for kind in (*webs, *reversed(webs)):
                    before = cpu_seconds(webs[kind].pid)
                    result = self._load(site, webs[kind], site.seconds)
                    cpu[kind] += cpu_seconds(webs[kind].pid) - before
                    answers[kind] += result.finished
                    rates[kind] += result.rate / 2
            finally:
                for web in webs.values():
                    web.stop()
        each = {kind: 1000 * cpu[kind] / max(1, answers[kind]) for kind in webs}
        more = {f"{kind}: CPU ms": value for kind, value in each.items()}
        more |= {f"{kind}: answers a second": rate for kind, rate in rates.items()}
        return Measured(100 * (each[COLLECTOR] / each[OFF] - 1), more=more)

    def _load(self, site: Site, web: WebServer, seconds: float) -> Result:
        return site.load(
            self._made, connections=CLIENTS, seconds=seconds, contains=self.contains, address=web.address
        ).result


@contextmanager
def _collectors(site: Site) -> Iterator[dict[str, str]]:
    """The address of each kind of collector."""
    answering = BareServer(data_dir=site.web.folder.parent / "collector", workers=1)
    answering.start()
    try:
        with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
            port = silent.getsockname()[1]
            yield {OFF: "", COLLECTOR: answering.url, DEAD: "http://127.0.0.1:9", HANGS: f"http://127.0.0.1:{port}"}
    finally:
        answering.kill()
