"""What `/metrics` answers: the metrics of all processes, in Prometheus' text format."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import gevent
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from edgechat.errors import StoreUnavailable
from edgechat.metrics import catalog, files
from edgechat.metrics.sampling import sample

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# The files of an ended process are added up in milliseconds.
TRIES, PAUSE_SECONDS = 20, 0.05
_one_at_a_time = threading.Lock()


class _AllProcesses(Collector):
    def collect(self) -> Iterator[Metric]:
        now = time.monotonic()
        found: list[Metric] = MultiProcessCollector(None, str(files.folder())).collect()  # type: ignore[no-untyped-call]
        for metric in sorted(found, key=lambda each: each.name):
            if metric.name in catalog.AGES:
                metric.samples = [Sample(each.name, each.labels, max(0.0, now - each.value)) for each in metric.samples]
            yield metric


def render() -> bytes:
    """The page. It uses no store. Raises StoreUnavailable if the files are being changed for a whole second."""
    with _one_at_a_time:
        sample()
        for _ in range(TRIES):
            with files.unchanged() as unchanged:
                if unchanged:
                    # A real thread: the other requests of this process go on meanwhile.
                    page: bytes = gevent.get_hub().threadpool.apply(generate_latest, (_AllProcesses(),))
                    return page
            time.sleep(PAUSE_SECONDS)
    raise StoreUnavailable
