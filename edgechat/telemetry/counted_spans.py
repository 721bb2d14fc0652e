"""Spans on their way to a collector, counted: `edgechat_spans_total`. Imported only where spans are sent."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from edgechat.metrics import catalog

logger = structlog.get_logger(__name__)

_ended = catalog.spans.labels("ended")
_sent, _failed = catalog.spans.labels("sent"), catalog.spans.labels("failed")


class CountedProcessor(BatchSpanProcessor):
    """Counts each span that ends, also one that finds the queue full."""

    def on_end(self, span: ReadableSpan) -> None:
        super().on_end(span)
        _ended.inc()


class CountedExporter(OTLPSpanExporter):
    """Counts what was sent and what failed, and logs when the collector goes away and when it is back."""

    _is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        (_failed if is_away else _sent).inc(len(spans))
        if is_away and not self._is_away:
            logger.warning("collector_away")
        elif self._is_away and not is_away:
            logger.info("collector_back")
        self._is_away = is_away
        return result
