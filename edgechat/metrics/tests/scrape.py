"""Reading `/metrics` in tests, with Prometheus' own parser."""

from __future__ import annotations

from functools import cached_property

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
        self._text = answer.text

    @cached_property
    def samples(self) -> dict[str, dict[Labels, float]]:
        """All samples by their names."""
        return _samples(self._text)

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels, among others; 0 without any."""
        # Parsing everything takes 0.1 s of the CPU, and tests wait for one number.
        lines = [line for line in self._text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        found = _samples("".join(f"{line}\n" for line in lines)).get(name, {})
        return sum(value for having, value in found.items() if labels.items() <= dict(having).items())


def _samples(text: str) -> dict[str, dict[Labels, float]]:
    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return samples
