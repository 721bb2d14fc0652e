"""Spans, for a collector at OTEL_EXPORTER_OTLP_ENDPOINT. Without one, nothing is imported and a span costs one check.

Names and attributes follow OpenTelemetry's conventions. They hold no content: no texts, no values of statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgechat.metrics.labels import method_label

_api: Any = None  # opentelemetry.trace
_tracer: Any = None


@contextmanager
def store_span(system: str, operation: str) -> Iterator[None]:
    """A span of an operation of a store, within the current one.

    Background tasks have no current span, and make none.
    """
    tracer = _tracer
    if tracer is None or not _api.get_current_span().is_recording():
        yield
        return
    # Nothing happens within it that has a span of its own, so it need not become the current one.
    span = tracer.start_span(
        operation,
        kind=_api.SpanKind.CLIENT,
        attributes={"db.system.name": system, "db.operation.name": operation},
    )
    try:
        yield
    except BaseException as error:
        _set_error(span, error)
        raise
    finally:
        span.end()


@contextmanager
def request_span(environ: dict[str, Any]) -> Iterator[Any]:
    """The span of a request, or None. Give it to `end_request`. A caller that sends `traceparent` names the trace."""
    tracer = _tracer
    if tracer is None:
        yield None
        return
    method = method_label(environ["REQUEST_METHOD"])
    span = tracer.start_span(
        method,
        context=_context_of_caller(environ),
        kind=_api.SpanKind.SERVER,
        attributes={"http.request.method": method, "url.scheme": environ["wsgi.url_scheme"]},
    )
    # Also one that is not sampled becomes the current one, so that nothing within it is.
    with _api.use_span(span, record_exception=False, set_status_on_exception=False):
        yield span if span.is_recording() else None


def _context_of_caller(environ: dict[str, Any]) -> Any:
    if "HTTP_TRACEPARENT" not in environ:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    sent = {name: environ.get(f"HTTP_{name.upper()}", "") for name in ("traceparent", "tracestate")}
    return TraceContextTextMapPropagator().extract({name: value for name, value in sent.items() if value})


def end_request(span: Any, response: Any, known: dict[str, Any]) -> None:
    """Name a request's span after its route, and end it when its answer is closed. `known`: the fields of the log."""
    attributes = {
        "http.response.status_code": response.status_code,
        "edgechat.request_id": known.get("request_id", ""),
    }
    route = known.get("route")
    if route is not None:
        attributes["http.route"] = f"/{route}"
        span.update_name(f"{span.name} /{route}")
    span.set_attributes(attributes)
    if response.status_code >= 500:
        span.set_status(_error_status())
    if response.streaming:
        response._resource_closers.append(span.end)
    else:
        span.end()


def start_model_span(model: str, *, max_output_tokens: int) -> Any:
    """The span of a call to the model, or None. It is not the current one: the answer is a generator."""
    tracer = _tracer
    if tracer is None:
        return None
    attributes = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": max_output_tokens,
    }
    return tracer.start_span(f"generate_content {model}", kind=_api.SpanKind.CLIENT, attributes=attributes)


def end_model_span(span: Any, attributes: dict[str, Any], error: BaseException | None) -> None:
    if span is None:
        return
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if error is not None:
        _set_error(span, error)
    span.end()


def use(tracer: Any) -> None:
    """Have this process make spans, or none while `tracer` is None. Only for `edgechat.telemetry`."""
    global _api, _tracer
    from opentelemetry import trace

    _api, _tracer = trace, tracer


def _set_error(span: Any, error: BaseException) -> None:
    """Without the text of the error, which may quote values."""
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(_error_status())


def _error_status() -> Any:
    return _api.Status(_api.StatusCode.ERROR)
