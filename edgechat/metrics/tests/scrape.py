"""Reading `/metrics` in tests, with Prometheus' own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from conftest import ask
from edgechat.metrics.page import CONTENT_TYPE

Labels = frozenset[tuple[str, str]]


class Scrape:
    """The samples of one scrape."""

    def __init__(self, url: str) -> None:
        self.url = url
        answer = ask("GET", f"{url}/metrics")
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        self.families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        self.samples: dict[str, dict[Labels, float]] = {}
        for family in self.families.values():
            for sample in family.samples:
                self.samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels, among others; 0 without any."""
        return sum(
            value for found, value in self.samples.get(name, {}).items() if labels.items() <= dict(found).items()
        )

    def has(self, name: str) -> bool:
        return name in self.samples
