"""Spans on their way to a collector, counted: `edgechat_spans_total`. Imported only where spans are sent."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from edgechat.metrics import catalog
from edgechat.telemetry import spans

logger = structlog.get_logger(__name__)

# Between two attempts to reach a collector that is away. The pause doubles with each.
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0

_ended = catalog.spans.labels("ended")
_sent, _failed = catalog.spans.labels("sent"), catalog.spans.labels("failed")


class CountedProcessor(BatchSpanProcessor):
    """Counts each span that ends, also one that finds the queue full."""

    def on_end(self, span: ReadableSpan) -> None:
        super().on_end(span)
        _ended.inc()


class PausingExporter(OTLPSpanExporter):
    """Counts what was sent and what failed. After a failure this process makes no spans until the collector is back.

    Meanwhile the processor's thread sends one span that has failed, after each pause. What had ended before waits in
    the processor's queue.
    """

    def __init__(self, url: str, *, timeout: float, tracer: Any) -> None:
        super().__init__(url, timeout=timeout)
        self._tracer = tracer
        self._pause = SHORTEST_PAUSE
        self._is_away = False
        self._stops = threading.Event()
        catalog.traces_paused.set(0)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE if self._is_away else super().export(spans)
        if result is SpanExportResult.SUCCESS:
            _sent.inc(len(spans))
            self._pause = SHORTEST_PAUSE
        else:
            _failed.inc(len(spans))
            self._wait_for_collector(spans)
        return result

    def stop_waiting(self) -> None:
        """Send nothing more if the collector is away."""
        self._stops.set()

    def _wait_for_collector(self, failed: Sequence[ReadableSpan]) -> None:
        self._set_away(True)
        # Another span each time, because the collector may refuse one for a reason of its own.
        for span in itertools.cycle(failed):
            if self._stops.wait(self._pause):
                return
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if super().export([span]) is SpanExportResult.SUCCESS:
                break
        self._set_away(False)

    def _set_away(self, is_away: bool) -> None:
        if is_away != self._is_away:
            self._is_away = is_away
            spans.use(None if is_away else self._tracer)
            catalog.traces_paused.set(is_away)
            if is_away:
                logger.warning("collector_away")
            else:
                logger.info("collector_back")
