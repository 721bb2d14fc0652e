"""Counts and times each request for the metrics, by its route's template: no id and no path becomes a label."""

from __future__ import annotations

import functools
import time
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from edgechat.http.request_state import state_of
from edgechat.metrics import catalog
from edgechat.metrics.labels import method_label

# Labels of requests that reach no view.
UNMATCHED, STATIC = "none", "static"

# Looking a metric's labels up takes longer than counting.
_requests = functools.cache(catalog.http_requests.labels)
_seconds = functools.cache(catalog.http_request_seconds.labels)


def measure_answer(request: HttpRequest, response: HttpResponseBase) -> None:
    """Count an answer, and time it unless it belongs to a long call, which times itself (`measure_end`)."""
    state = state_of(request)
    method, route = method_label(request.method), UNMATCHED
    if request.resolver_match is not None:
        route = request.resolver_match.route or "/"
    elif state.is_static:
        route = STATIC
    _requests(method, route, response.status_code).inc()
    if not state.is_long:
        _seconds(method, route).observe(time.monotonic() - state.began_at)


def begin_long(request: HttpRequest) -> None:
    """Mark a request whose duration depends on the model or on its client."""
    state_of(request).is_long = True


def measure_end(request: HttpRequest, *, streamed: bool) -> None:
    """Time a long call that has ended."""
    labels = (*_labels(request), "true" if streamed else "false")
    catalog.http_long_seconds.labels(*labels).observe(time.monotonic() - state_of(request).began_at)


def measure_first_event(request: HttpRequest) -> None:
    catalog.http_first_event_seconds.labels(*_labels(request)).observe(time.monotonic() - state_of(request).began_at)


def _labels(request: HttpRequest) -> tuple[str, str]:
    match: Any = request.resolver_match
    return method_label(request.method), match.route
