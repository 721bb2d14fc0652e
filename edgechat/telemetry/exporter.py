"""Sends this process's spans to a collector, in batches, from a thread of its own: under gunicorn a greenlet.

A collector that is dead or silent delays nothing, and no spans are made for it. The queue is bounded, by 2048 spans or
OTEL_BSP_MAX_QUEUE_SIZE, and what does not fit is dropped.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import gevent
from django.conf import settings

from edgechat import __version__
from edgechat.telemetry import spans

# Encoding a batch lets no other request run meanwhile.
BATCH_SPANS = 64
EVERY_MILLISECONDS = 2000
SEND_SECONDS = 5
# Of a stop, for the last spans.
LAST_SECONDS = 0.5

_provider: Any = None
_exporter: Any = None


def start() -> None:
    """Called once in a worker, after the fork. Does nothing without OTEL_EXPORTER_OTLP_ENDPOINT."""
    global _provider, _exporter
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from edgechat.telemetry.sent_spans import CountedProcessor, PausingExporter

    named = {"service.name": "edgechat"} if "OTEL_SERVICE_NAME" not in os.environ else {}
    resource = Resource.create({**named, "service.version": __version__, "process.pid": os.getpid()})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # They would repeat each failure of the collector; PausingExporter logs the first. Before, the library has warned
    # of its variables.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    tracer = _provider.get_tracer("edgechat", __version__)
    url = f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces"
    _exporter = PausingExporter(url, timeout=SEND_SECONDS, tracer=tracer)
    _provider.add_span_processor(
        CountedProcessor(_exporter, max_export_batch_size=BATCH_SPANS, schedule_delay_millis=EVERY_MILLISECONDS)
    )
    _trace_stores()
    spans.use(tracer)


def stop() -> None:
    """Send the last spans, for LAST_SECONDS at most."""
    if _provider is not None:
        _exporter.stop_waiting()
        with gevent.Timeout(LAST_SECONDS, False):
            _provider.shutdown()


def _trace_stores() -> None:
    """Make a span of each pipeline of Redis and statement of Django. `edgechat.stores` makes those of all others."""
    import redis
    from django.db.backends.signals import connection_created

    pipeline: Any = redis.client.Pipeline.execute

    def execute_pipeline(self: Any, *args: Any, **options: Any) -> Any:
        with spans.store_span("redis", "PIPELINE"):
            return pipeline(self, *args, **options)

    def execute_statement(run: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        with spans.store_span("postgresql", sql.split(None, 1)[0].upper()):
            return run(sql, params, many, context)

    def watch(connection: Any, **kwargs: Any) -> None:
        if execute_statement not in connection.execute_wrappers:
            connection.execute_wrappers.append(execute_statement)

    redis.client.Pipeline.execute = execute_pipeline  # type: ignore[method-assign]
    connection_created.connect(watch, weak=False, dispatch_uid=__name__)
