"""Spans, for a collector at OTEL_EXPORTER_OTLP_ENDPOINT. Without one, nothing is imported and a span costs one check.

Names and attributes follow OpenTelemetry's conventions. They hold no content: no texts, no values of statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgechat.metrics.labels import method_label

_tracer: Any = None


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[None]:
    """A span of a call to a store, within the current one; attributes are written with `__` for a dot.

    Background tasks have no current span, and make none.
    """
    if _tracer is None or not _is_recording():
        yield
        return
    from opentelemetry.trace import SpanKind

    named = {key.replace("__", "."): value for key, value in attributes.items()}
    # Without the text of an exception, which may quote values.
    with _tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=named, record_exception=False) as current:
        try:
            yield
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(_error_status())
            raise


@contextmanager
def request_span(environ: dict[str, Any]) -> Iterator[Any]:
    """The span of a request, or None. Give it to `end_request`. A caller that sends `traceparent` names the trace."""
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    sent = {name: environ.get(f"HTTP_{name.upper()}", "") for name in ("traceparent", "tracestate")}
    method = method_label(environ["REQUEST_METHOD"])
    with _tracer.start_as_current_span(
        method,
        context=TraceContextTextMapPropagator().extract({name: value for name, value in sent.items() if value}),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": method, "url.scheme": environ["wsgi.url_scheme"]},
        end_on_exit=False,
        record_exception=False,
    ) as current:
        yield current


def end_request(current: Any, response: Any, known: dict[str, Any]) -> None:
    """Name a request's span after its route, and end it when its answer is closed. `known`: the fields of the log."""
    route = known.get("route")
    if route is not None:
        current.set_attribute("http.route", f"/{route}")
        current.update_name(f"{current.attributes['http.request.method']} /{route}")
    current.set_attribute("http.response.status_code", response.status_code)
    current.set_attribute("edgechat.request_id", known.get("request_id", ""))
    if response.status_code >= 500:
        current.set_status(_error_status())
    if response.streaming:
        response._resource_closers.append(current.end)
    else:
        current.end()


def start_model_span(model: str, *, max_output_tokens: int) -> Any:
    """The span of a call to the model, or None. It is not the current one: the answer is a generator."""
    if _tracer is None:
        return None
    from opentelemetry.trace import SpanKind

    attributes = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": max_output_tokens,
    }
    return _tracer.start_span(f"generate_content {model}", kind=SpanKind.CLIENT, attributes=attributes)


def end_model_span(current: Any, attributes: dict[str, Any], error: BaseException | None) -> None:
    if current is None:
        return
    current.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if error is not None:
        current.set_attribute("error.type", type(error).__name__)
        current.set_status(_error_status())
    current.end()


def use(tracer: Any) -> None:
    """Have this process make spans. Only for `edgechat.telemetry.exporter`."""
    global _tracer
    _tracer = tracer


def _is_recording() -> bool:
    from opentelemetry.trace import get_current_span

    return get_current_span().is_recording()


def _error_status() -> Any:
    from opentelemetry.trace import Status, StatusCode

    return Status(StatusCode.ERROR)
